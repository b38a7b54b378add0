"""User errors: exit code 2, one message, no traceback, nothing written and nothing lost."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def refused(command: list[str], autophage: Run) -> str:
    done = autophage(*command)
    assert done.returncode == 2, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("error:") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mix.alhpa=1.0"], "mix.alpha"),
        (["mix.alpha=high"], "mix.alpha"),
        (["generations=1.5"], "generations"),
        (["sweep={}", "mix.alpha=1.5"], "1.5"),
        (['sweep."mix.alpha"=[1.5]'], "1.5"),
        (["sample.count=0"], "sample.count"),
    ],
)
def test_recipes(autophage: Run, tmp_path: Path, settings: list[str], message: str) -> None:
    out = tmp_path / "out"
    command = ["run", "smoke", "--out", str(out)]
    for setting in settings:
        command += ["--set", setting]
    assert message in refused(command, autophage)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"", "holds no text"), ("Málaga\n".encode("latin-1") * 50, "is not UTF-8")],
)
def test_texts(autophage: Run, tmp_path: Path, content: bytes | None, message: str) -> None:
    path, out = tmp_path / "input.txt", tmp_path / "out"
    if content is not None:
        path.write_bytes(content)
    assert message in refused(["run", "text", "--set", f"source.path={path}", "--out", str(out)], autophage)
    assert not out.exists()


def test_a_text_recipe_without_a_text(autophage: Run, tmp_path: Path) -> None:
    assert "source.path" in refused(["run", "text", "--out", str(tmp_path / "out")], autophage)


@pytest.mark.thorough
def test_a_model_without_a_tokenizer(autophage: Run, variables: dict[str, str], tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    code = (
        "import sys, transformers as t;"
        "c = t.LlamaConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, vocab_size=64);"
        "t.LlamaForCausalLM(c).save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(model)], env=variables, check=True, capture_output=True)
    assert (model / "model.safetensors").is_file()
    message = refused(["run", "smoke", "--set", f"model.path={model}", "--out", str(out)], autophage)
    assert "tokenizer" in message
    assert not out.exists()


def test_a_directory_that_cannot_be_written(autophage: Run) -> None:
    assert "cannot be written" in refused(["run", "smoke", "--out", "/proc/autophage"], autophage)


def test_a_directory_that_is_something_else(autophage: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert "is not a run directory" in refused(["run", "smoke", "--out", str(tmp_path)], autophage)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_runs_in_one_directory(autophage: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        lock.write(json.dumps(4711))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "4711" in refused(["run", "smoke", "--out", str(out)], autophage)
    assert [path.name for path in out.iterdir()] == [".lock"]
