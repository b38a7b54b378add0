"""Runs of `smoke` on the real stack, shared by all tests that compare with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autophage.progress import Meter

if TYPE_CHECKING:
    from autophage.recipe.schema import Recipe
    from autophage.stages.workbench import Workbench

AUTOPHAGE = [sys.executable, "-m", "autophage"]
Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this session, so that the base model is trained."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def variables(cache: Path) -> dict[str, str]:
    return {**os.environ, "AUTOPHAGE_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}


@pytest.fixture(scope="session")
def autophage(variables: dict[str, str]) -> Run:
    """Run the command line and return its output."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*AUTOPHAGE, *map(str, arguments)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, autophage: Run) -> Path:
    """The engine's uninterrupted run of `smoke`."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    done = autophage("run", "smoke", "--out", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def contents() -> Contents:
    return _contents


def _contents(run: Path) -> dict[str, object]:
    """Collect the parts that must be equal in two runs of one recipe: file hashes, and metrics except `speed/*`."""
    found: dict[str, object] = {}
    for manifest in sorted(run.glob("arms/*/gen-*/manifest.json")):
        files = json.loads(manifest.read_text("utf-8"))["files"]
        for name, facts in files.items():
            found[f"{manifest.parent.relative_to(run)}/{name}"] = facts["sha256"]
        rows = json.loads((manifest.parent / "metrics.json").read_text("utf-8"))
        kept = [row for row in rows if not row["metric"].startswith("speed/")]
        found[f"{manifest.parent.relative_to(run)}/metrics.json"] = json.dumps(kept)
    return found


MAKE_CHAT_MODEL = """
import sys
import torch
from autophage.data.tokens import byte_pair_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

folder, text, positions = sys.argv[1:]
tokenizer = byte_pair_tokenizer([text], 500)
tokenizer.bos_token = None
turns = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
tokenizer.chat_template = turns + "{% if add_generation_prompt %}<assistant>{% endif %}"
torch.manual_seed(0)
Qwen2ForCausalLM(
    Qwen2Config(
        vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=int(positions), eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )
).save_pretrained(folder)
tokenizer.save_pretrained(folder)
"""


@pytest.fixture(scope="session")
def make_chat_model(variables: dict[str, str]) -> Callable[[Path, str, int], None]:
    """Write a small chat model without a start token. Its tokenizer is trained on a text."""

    def make(folder: Path, text: str, positions: int) -> None:
        command = [sys.executable, "-c", MAKE_CHAT_MODEL, str(folder), text, str(positions)]
        subprocess.run(command, env=variables, check=True, capture_output=True)

    return make


@pytest.fixture(scope="session")
def workbench(cache: Path) -> Callable[[Recipe], Workbench]:
    """Make the workbench of a recipe in this process. Its base model is in the session's cache."""

    def make(recipe: Recipe) -> Workbench:
        from autophage.data.build import read_source
        from autophage.stages.workbench import Workbench
        from autophage.trainer.base_model import ensure_base_model

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AUTOPHAGE_CACHE", str(cache))
            raw = read_source(recipe)
            return Workbench(recipe, raw, str(ensure_base_model(recipe, raw, Meter())))

    return make
