"""Export one committed generation of a run: its adapter, its corpus or the whole model.

Refuses generations that are missing, uncommitted or damaged, and folders that are in use. An export is complete or
absent. `card` writes the README. torch, transformers and PEFT are imported only to merge.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.errors import StoreError, UserError, foreign_errors
from autophage.report.facts.load import ArmFacts, RunFacts, load
from autophage.runs.card import card
from autophage.store.atomic import local
from autophage.store.manifest import MANIFEST, check, shards
from autophage.store.rundir import RunDirectory
from autophage.store.weights import ADAPTER, LEARNER, MODEL, REFERENCE, refuse_pickle

if TYPE_CHECKING:
    import torch

WHAT = ("adapter", "corpus", "model", "merged")
"""Kinds of export. `merged` is another word for `model`."""
CORPUS = "corpus.parquet"


def export(run: RunDirectory, arm: str, generation: int, what: str, out: Path) -> Path:
    """Write one generation of an arm into the folder `out`. Its card becomes README.md.

    `recipe.toml` and the generation's `manifest.json` are copied too. With them, the hashes on the card can be checked.

    Args:
        what: One of `WHAT`.

    Returns:
        `out` as an absolute path.

    Raises:
        UserError: There is no such arm, generation or kind of export, or `out` is not empty.
        StoreError: The files, or the chain of earlier generations, differ from the manifests.
    """
    out = out.resolve()
    facts = load(run)
    _require_known("what to export", what, WHAT)
    lineage = _lineage(run, facts, arm, generation)
    _require_unused(out)
    method = _method(lineage, generation)
    if what == "adapter" and method != "lora":
        why = "all weights were trained" if method == "full" else f"it is a {facts.recipe.learner.kind} learner"
        raise UserError(f"generation {generation} of arm {arm} has no adapter: {why}. Give --what model instead.")
    writers: dict[str, Callable[[Path], None]] = {
        "adapter": lambda folder: _copy_folder(run, lineage, generation, ADAPTER, folder),
        "corpus": lambda folder: _copy_corpus(run, lineage, generation, folder),
        "model": lambda folder: _whole_model(run, facts, lineage, generation, folder),
    }
    scratch = out.with_name(f".{out.name}.partial")
    if method == "small":
        writers["model"] = lambda folder: _copy_folder(run, lineage, generation, LEARNER, folder)
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        what = "model" if what == "merged" else what
        writers[what](scratch)
        shutil.copyfile(run.recipe, scratch / "recipe.toml")
        shutil.copyfile(run.generation(arm, generation) / MANIFEST, scratch / MANIFEST)
        (scratch / "README.md").write_text(card(facts, lineage, generation, what), encoding="utf-8")
        os.rename(scratch, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}). Give another --out.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def _lineage(run: RunDirectory, facts: RunFacts, name: str, generation: int) -> ArmFacts:
    """Return the arm called `name`, once its files and the chain of its generations are checked.

    The chain is checked up to `generation`, and the files of that generation alone.

    Raises:
        UserError: There is no such arm, or the generation is not committed.
        StoreError: Files or chain differ from the manifests.
    """
    arms = {arm.name: arm for arm in facts.arms}
    _require_known("arm", name, tuple(arms))
    arm = arms[name]
    if arm.last < 0:
        raise UserError(f"{run.root}: arm {name} has no committed generation yet. Resume the run, then export.")
    if not 0 <= generation <= arm.last:
        raise UserError(
            f"generation {generation} of arm {name} is not committed; {run.root} has 0 to {arm.last}. "
            "Give one of those, or resume the run with the same `autophage run` command."
        )
    faults = check(run, name, generation)
    for number in range(1, generation):
        if arm.manifests[number].parent != arm.hashes[number - 1]:
            faults.append(f"{run.generation(name, number)}: its parent is not the generation before it")
    if faults:
        raise StoreError("not exported, because the run is damaged:\n  " + "\n  ".join(faults))
    return arm


def _require_known(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{kind}: {value!r} is not one of {', '.join(known)}.{meant}")


def _require_unused(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder. Give a new one as --out, or remove it first.")


def _copy_folder(run: RunDirectory, arm: ArmFacts, generation: int, name: str, folder: Path) -> None:
    """Copy the files that the manifest lists in the folder `name` of a generation, byte for byte."""
    source = run.generation(arm.name, generation)
    for file in arm.manifests[generation].files:
        inside = Path(file)
        if inside.parts[0] == name:
            target = folder.joinpath(*inside.parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / inside, target)


def _copy_corpus(run: RunDirectory, arm: ArmFacts, generation: int, folder: Path) -> None:
    """Write all corpus shards as one Parquet file.

    Row groups are copied one at a time. A large corpus then needs little memory.
    """
    import pyarrow.parquet as pq

    paths = [local(path) for path in shards(run, arm.manifests[generation])]
    with pq.ParquetWriter(local(folder / CORPUS), pq.read_schema(paths[0]), compression="zstd") as writer:
        for shard in paths:
            with pq.ParquetFile(shard) as file:
                for number in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(number))


def _method(arm: ArmFacts, generation: int) -> str:
    return str(arm.manifests[generation].weights.get("method", "lora"))


def _whole_model(run: RunDirectory, facts: RunFacts, arm: ArmFacts, generation: int, folder: Path) -> None:
    """Write the model of one generation in the base model's element type, with its tokenizer.

    An adapter is added to the base model in float32. The sum is rounded once. In bfloat16 the rounding error could
    exceed a small adapter. A run itself never merges.
    """
    from autophage.data.tokens import load_tokenizer

    path = _base_path(run, facts)
    model, stored = _load_base(run, path)
    made = run.generation(arm.name, generation)
    if _method(arm, generation) != "full":
        from peft import PeftModel

        refuse_pickle(made / ADAPTER)
        model = PeftModel.from_pretrained(model, str(made / ADAPTER)).merge_and_unload(safe_merge=True)
    elif not (made / MODEL / REFERENCE).is_file():
        from transformers import AutoModelForCausalLM

        settings = model.generation_config
        model = AutoModelForCausalLM.from_pretrained(made / MODEL, trust_remote_code=False, use_safetensors=True)
        model.generation_config = settings
    model.to(stored).save_pretrained(folder)
    load_tokenizer(path).save_pretrained(folder)


def _load_base(run: RunDirectory, path: str) -> tuple[Any, torch.dtype]:
    """Return the base model, loaded in float32, and the element type of its files."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from autophage.trainer.loading import load_pretrained

    what = f"{run.environment}: the base model {path!r}"
    with foreign_errors(f"{what} cannot be loaded", "Restore it, or export the adapter instead."):
        stored = AutoConfig.from_pretrained(path, trust_remote_code=False).dtype or torch.float32
    return load_pretrained(AutoModelForCausalLM, path, torch.float32, what), stored


def _base_path(run: RunDirectory, facts: RunFacts) -> str:
    """Return the folder or hub id of the base model, as the run recorded it.

    Raises:
        UserError: The run recorded none, or its folder is missing.
    """
    model = facts.environment.get("model", {})
    path = model.get("path")
    if not path:
        raise UserError(f"{run.environment}: names no base model. Export the adapter instead.")
    if model.get("kind") != "hub" and not Path(path).is_dir():
        again = "Train it again (the same `autophage run` command in a new --out)"
        remedy = again if model.get("kind") == "from-source" else "Restore it"
        raise UserError(f"{path}: the base model is missing. {remedy}, or export the adapter instead.")
    return str(path)
