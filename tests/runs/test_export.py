"""Exports of a committed generation: contents, model cards and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from autophage.errors import StoreError, UserError
from autophage.runs.export import export
from autophage.store.atomic import sha256
from autophage.store.commit import Generation, commit_generation
from autophage.store.corpus import SCHEMA, Sample, sample_id
from autophage.store.manifest import INDENT, MANIFEST, Metric
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed
from autophage.store.weights import CONFIG, WEIGHTS, Weights

RECIPE = """
name = "night"
seed = 1
generations = 5
[model]
rank = 8
[sweep]
"mix.alpha" = [1.0, 0.5]
"""
ARM = "alpha-1.0"


def sample(arm: str, generation: int, index: int) -> Sample:
    values = np.full(2, 0.5, np.float32)
    return Sample(
        sample_id=sample_id(1, arm, generation, index, [1], index),
        prompt="",
        text=f"document {index}",
        prompt_ids=[1],
        token_ids=[5, 2],
        finish_reason="stop",
        seed=index,
        logprob=-values,
        entropy=values,
        varentropy=values,
        max_prob=values,
        rank=np.ones(2, np.int64),
    )


def commit(run: RunDirectory, generation: int, adapter: Weights, arm: str = ARM) -> None:
    samples = [sample(arm, generation, index) for index in range(5)]
    made = Generation(arm, generation, adapter, "a", samples, [Metric("onpolicy/entropy", 1.0)], None, 1)
    commit_generation(run, made, level="exact", versions={"torch": "2.13.0"}, arms=[arm])


def adapter(number: int) -> Weights:
    return Weights(b"weights %d" % number, {"peft_type": "LORA", "r": 8})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Three committed generations of one arm and an interrupted fourth. The last one has two shards."""
    run = RunDirectory(tmp_path / "run")
    run.arms.mkdir(parents=True)
    run.recipe.write_text(RECIPE)
    run.write_environment({"model": {"path": "/models/base", "kind": "folder", "parameters": 12345, "digest": "d1g"}})
    for generation in range(3):
        commit(run, generation, adapter(generation))
    (run.generation(ARM, 3) / "adapter").mkdir(parents=True)
    return run


def front_matter(out: Path) -> dict[str, Any]:
    card = (out / "README.md").read_text("utf-8")
    _, matter, _ = card.split("---\n", 2)
    content: dict[str, Any] = yaml.safe_load(matter)
    return content


def test_an_adapter_is_copied_byte_for_byte_with_its_lineage(run: RunDirectory, tmp_path: Path) -> None:
    out = export(run, ARM, 2, "adapter", tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {CONFIG, WEIGHTS, "README.md", "recipe.toml", MANIFEST}
    assert (out / WEIGHTS).read_bytes() == adapter(2).tensors
    assert sha256(out / MANIFEST) == sha256(run.generation(ARM, 2) / MANIFEST)
    card = (out / "README.md").read_text("utf-8")
    for generation in range(3):
        assert sha256(run.generation(ARM, generation) / MANIFEST) in card
        assert adapter(generation).digest in card
    assert front_matter(out)["library_name"] == "peft"
    assert "base_model" not in front_matter(out), "a folder of this machine is no model of the hub"


def test_the_card_names_what_flips_the_outcome_and_the_base_model(run: RunDirectory, tmp_path: Path) -> None:
    card = (export(run, ARM, 1, "adapter", tmp_path / "out") / "README.md").read_text("utf-8")
    for row in ("alpha) | 1 |", "chain | cumulative", "pool | replace", "prompts | bos", "decoding | temperature 1",
                "method | LoRA rank 8", "learning rate | 0.002", "samples | 5", "tokens | 10",
                "path | /models/base", "digest | d1g", "torch | 2.13.0"):  # fmt: skip
        assert row in card
    assert "Unknown" in card.split("## Licence")[1]


def test_a_hub_model_is_named_where_the_hub_looks_for_it(run: RunDirectory, tmp_path: Path) -> None:
    run.write_environment({"model": {"path": "some/model", "kind": "hub"}})
    matter = front_matter(export(run, ARM, 1, "adapter", tmp_path / "out"))
    assert (matter["base_model"], matter["base_model_relation"]) == ("some/model", "adapter")


def test_the_hub_reads_the_front_matter(run: RunDirectory, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    model = ModelCard.load(export(run, ARM, 1, "adapter", tmp_path / "adapter") / "README.md")
    assert model.data.license == "unknown"
    assert model.data.library_name == "peft"
    data = DatasetCard.load(export(run, ARM, 1, "corpus", tmp_path / "corpus") / "README.md")
    assert data.data.size_categories == ["n<1K"]
    assert {"machine-generated", "do-not-train-on-it-unknowingly"} <= set(data.data.tags)


def test_a_corpus_is_one_file_in_the_order_of_its_shards(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autophage.store.corpus.ROWS_PER_SHARD", 2)
    commit(run, 0, adapter(0), arm="alpha-0.5")
    assert len(list(run.generation("alpha-0.5", 0).glob("corpus-*"))) == 3
    out = export(run, "alpha-0.5", 0, "corpus", tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "corpus.parquet", MANIFEST, "recipe.toml"]
    table = pq.read_table(out / "corpus.parquet")
    assert table.schema.equals(SCHEMA)
    assert table["text"].to_pylist() == [f"document {index}" for index in range(5)]
    assert "do not train on it unknowingly" in (out / "README.md").read_text("utf-8")


def test_text_of_a_run_cannot_break_out_of_the_card(run: RunDirectory, tmp_path: Path) -> None:
    run.write_environment({"model": {"path": "/m/a|b\n\n# <img>", "kind": "folder"}})
    card = (export(run, ARM, 0, "adapter", tmp_path / "out") / "README.md").read_text("utf-8")
    assert r"/m/a\|b # \<img\>" in card
    assert "\n# <img>" not in card


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(run: RunDirectory, tmp_path: Path, arm: str, generation: int, what: str, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern):
        export(run, arm, generation, what, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "nothing may be left behind"


def test_an_unknown_arm_names_the_near_one_and_all(run: RunDirectory, tmp_path: Path) -> None:
    refused(run, tmp_path, "alpha-1", 0, "adapter", r"alpha-1\.0, alpha-0\.5, control.*Did you mean 'alpha-1\.0'")


def test_an_unknown_kind_of_export_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    refused(run, tmp_path, ARM, 0, "merge", "adapter, corpus, model, merged.*Did you mean 'merged'")


@pytest.mark.parametrize("generation", [3, 9, -1])
def test_a_generation_that_is_not_committed_lists_those_that_are(
    run: RunDirectory, tmp_path: Path, generation: int
) -> None:
    refused(run, tmp_path, ARM, generation, "adapter", r"not committed; .* has 0 to 2")


def test_an_arm_that_has_not_begun_says_so(run: RunDirectory, tmp_path: Path) -> None:
    refused(run, tmp_path, "control", 0, "adapter", "no committed generation yet")


def test_no_run_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        export(RunDirectory(tmp_path / "nowhere"), ARM, 0, "adapter", tmp_path / "out")


@pytest.mark.parametrize("name", [f"adapter/{WEIGHTS}", "corpus-00000.parquet"])
@pytest.mark.parametrize("damage", ["other bytes", "gone"])
def test_a_damaged_file_is_not_exported(run: RunDirectory, tmp_path: Path, name: str, damage: str) -> None:
    path = run.generation(ARM, 2) / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match=path.name):
        export(run, ARM, 2, "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_chain_further_back_is_not_exported(run: RunDirectory, tmp_path: Path) -> None:
    manifest = run.generation(ARM, 0) / MANIFEST
    manifest.write_text(sealed(unsealed(manifest, INDENT) | {"level": "best-effort"}, INDENT))
    with pytest.raises(StoreError, match=r"gen-001: its parent"):
        export(run, ARM, 2, "corpus", tmp_path / "out")


def test_a_folder_in_use_is_left_alone_and_an_empty_one_is_filled(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(run, ARM, 0, "adapter", out)
    before = {path: sha256(path) for path in out.iterdir()}
    with pytest.raises(UserError, match="not an empty folder"):
        export(run, ARM, 1, "adapter", out)
    assert {path: sha256(path) for path in out.iterdir()} == before


def test_an_export_that_fails_half_way_leaves_nothing(run: RunDirectory, tmp_path: Path) -> None:
    refused(run, tmp_path, ARM, 1, "merged", r"/models/base: the base model is missing\. Restore it")


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_model_is_base_and_adapter_in_the_bases_type(run: RunDirectory, tmp_path: Path, dtype: str) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from autophage.data.tokens import word_tokenizer

    torch.manual_seed(0)
    base, trained = tmp_path / "base", tmp_path / "trained"
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=24, tie_word_embeddings=True, **shape)).to(getattr(torch, dtype))
    model.save_pretrained(base)
    word_tokenizer([f"word{index}" for index in range(20)]).save_pretrained(base)
    peft = get_peft_model(model.float(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    peft.save_pretrained(str(trained))

    config = json.loads((trained / CONFIG).read_text())
    commit(run, 0, Weights((trained / WEIGHTS).read_bytes(), config), arm="control")
    run.write_environment({"model": {"path": str(base), "kind": "from-source"}})
    out = export(run, "control", 0, "merged", tmp_path / "out")

    ids = torch.arange(24)[None]
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = whole(ids).logits
        expected = PeftModel.from_pretrained(whole, str(trained)).eval()(ids).logits
        got = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)(ids).logits
    assert (expected - before).abs().max() > 0.05, "the adapter must change something for this to be a test"
    torch.testing.assert_close(got, expected, atol=1e-5 if dtype == "float32" else 0.05, rtol=0)
    assert {str(tensor.dtype) for tensor in load_file(out / "model.safetensors").values()} == {f"torch.{dtype}"}
    assert AutoTokenizer.from_pretrained(out)("word3 word4").input_ids[-2:] == [7, 8]
    assert front_matter(out)["library_name"] == "transformers"
    assert not list(out.glob("*.bin"))
