"""Models and adapters of other people. Their weights are read. Their code and pickles are not."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autophage.data.own_code import code_files
from autophage.data.tokens import load_tokenizer
from autophage.errors import StoreError, UserError
from autophage.store.weights import load_weights
from autophage.trainer.entailment import entailment_label
from autophage.trainer.loading import load_model

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.slow


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """File that foreign code creates when it runs."""
    return tmp_path / "code-was-run"


@pytest.fixture
def coded(tmp_path: Path, trap: Path) -> Path:
    """A model whose configuration names Python files of its own."""
    folder = tmp_path / "coded"
    folder.mkdir()
    mapped = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": mapped}), "utf-8")
    tokenizer = {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")
    for name in ("configuration_own", "modeling_own", "tokenization_own"):
        (folder / f"{name}.py").write_text(f"open({str(trap)!r}, 'w').close()\n", "utf-8")
    return folder


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.trap), "w")


LOADERS: dict[str, Callable[[str], object]] = {
    "tokenizer": load_tokenizer,
    "model": lambda path: load_model(path, torch.float32),
    "entailment": entailment_label,
}


@pytest.mark.parametrize("loader", LOADERS)
def test_code_of_a_model_is_not_run_and_that_is_said(loader: str, coded: Path, trap: Path) -> None:
    with pytest.raises(UserError) as refusal:
        LOADERS[loader](str(coded))
    message = str(refusal.value)
    assert "trust_remote_code is off" in message
    assert "configuration_own.py, modeling_own.py, tokenization_own.py" in message
    assert "whose architecture is part of transformers" in message
    assert not trap.exists()


def test_a_run_with_such_a_model_never_begins(coded: Path, trap: Path, autophage: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = autophage("run", "smoke", "--set", f"model.path={coded}", "--out", out)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "trust_remote_code is off" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not trap.exists()


def test_an_ordinary_fault_is_not_taken_for_code(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"config\.json: is not JSON"):
        load_model(str(tmp_path), torch.float32)
    assert code_files(str(tmp_path)) == []
    assert code_files("no/such-model") == []


def llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, vocab_size=64
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def test_pickled_weights_of_a_model_are_not_read(tmp_path: Path, trap: Path) -> None:
    llama(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    (tmp_path / "model/pytorch_model.bin").write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(UserError, match="safetensors"):
        load_model(str(tmp_path / "model"), torch.float32)
    assert not trap.exists()


def test_a_pickled_adapter_is_refused(tmp_path: Path, trap: Path, autophage: Run) -> None:
    model, adapter, text = tmp_path / "model", tmp_path / "adapter", tmp_path / "text.txt"
    llama(model)
    text.write_text("one two three", "utf-8")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}), "utf-8")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Payload(trap)))
    done = autophage("score", model, text, "--adapter", adapter, "--out", tmp_path / "scores.parquet")
    assert done.returncode == 2, done.stderr
    assert "adapter_model.bin, which is a pickle" in done.stderr
    assert "Only safetensors are read" in done.stderr
    assert not trap.exists()


def test_a_pickle_in_the_place_of_committed_weights_is_not_read(tmp_path: Path, trap: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(StoreError, match="no weights that can be read"):
        load_weights(tmp_path)
    assert not trap.exists()


def test_the_trap_works(trap: Path) -> None:
    pickle.loads(pickle.dumps(Payload(trap))).close()
    assert trap.exists()
