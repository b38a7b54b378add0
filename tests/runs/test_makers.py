"""Makers on the real stack: a chat model rewrites human passages and is trained on its answers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from autophage.makers.self_edit import FORMATS

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Contents = Callable[[Path], dict[str, object]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEXT = "".join(
    f"In year {n} the ship Argo of Captain Holm left Bergen with {n % 7} sailors. Anna waited.\n" for n in range(500)
)
RECIPE = """
name = "made"
generations = 2
[model]
path = "{model}"
rank = 4
[source]
kind = "text"
path = "{text}"
block = 16
continuation = 16
[sample]
count = 12
max_tokens = 24
[train]
epochs = 1.0
[measure]
documents = 4
resamples = 100
drift = false
[maker]
edits = 3
occurrences = 1
answers = 4
[sweep]
"maker.kind" = ["domain", "self-edit", "entities", "reasoning"]
[control]
enabled = false
"""


@pytest.fixture(scope="module")
def recipe(make_chat_model: Callable[[Path, str, int], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_chat_model(folder / "model", TEXT, 1024)
    (folder / "text.txt").write_text(TEXT, "utf-8")
    path = folder / "made.toml"
    path.write_text(RECIPE.format(model=folder / "model", text=folder / "text.txt"), "utf-8")
    return path


def prompts(out: Path, arm: str, generation: int) -> list[str]:
    (shard,) = out.glob(f"arms/{arm}/gen-{generation:03d}/corpus-*.parquet")
    found: list[str] = pq.read_table(shard, columns=["prompt"])["prompt"].to_pylist()
    return found


@pytest.mark.long
def test_what_a_maker_asks_is_what_is_written_and_trained_on(
    autophage: Run, recipe: Path, contents: Contents, tmp_path: Path
) -> None:
    out, again = tmp_path / "run", tmp_path / "loop"
    done = autophage("run", recipe, "--out", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    edits = prompts(out, "kind-self-edit", 0)
    assert {form for form in FORMATS.values() for prompt in edits if form in prompt} == set(FORMATS.values())
    assert all(prompt.startswith("<user>") and prompt.endswith("<assistant>") for prompt in edits)
    assert all("Bergen" in prompt or "Argo" in prompt for prompt in edits)
    assert all("<system>You write questions" in prompt for prompt in prompts(out, "kind-entities", 1))
    assert len(set(prompts(out, "kind-reasoning", 1))) == 3
    assert prompts(out, "kind-domain", 0) != prompts(out, "kind-domain", 1)
    first, last = (pq.read_table(next(out.glob(f"arms/kind-domain/gen-{g:03d}/corpus-*"))) for g in (0, 2))
    assert first["text"].to_pylist() != last["text"].to_pylist()
    done = autophage("run", recipe, "--out", again)
    assert done.returncode == 0
    assert contents(again) == contents(out)


@pytest.mark.long
def test_a_model_without_a_chat_template_is_refused_before_anything_is_made(
    autophage: Run, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    template = recipe.parent / "model" / "chat_template.jinja"
    text = template.read_text("utf-8")
    template.unlink()
    try:
        done = autophage("run", recipe, "--out", out)
    finally:
        template.write_text(text, "utf-8")
    assert done.returncode == 2
    assert "needs a chat template, and the model" in done.stderr
    assert not list(out.glob("arms/*/gen-*"))
