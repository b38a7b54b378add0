"""Runs of `smoke` on the real stack, made once for all tests that compare against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

AUTOPHAGE = [sys.executable, "-m", "autophage"]
Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this session's own, so that the base model is really trained."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def variables(cache: Path) -> dict[str, str]:
    return {**os.environ, "AUTOPHAGE_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}


@pytest.fixture(scope="session")
def autophage(variables: dict[str, str]) -> Run:
    """Run the command line with these arguments and return what it said."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*AUTOPHAGE, *map(str, arguments)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, autophage: Run) -> Path:
    """The distributed engine's run of `smoke`, uninterrupted."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    done = autophage("run", "smoke", "--out", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def contents() -> Contents:
    return _contents


def _contents(run: Path) -> dict[str, object]:
    """What must be equal in two runs of one recipe: every file by hash, and metrics but for how fast they were made."""
    found: dict[str, object] = {}
    for manifest in sorted(run.glob("arms/*/gen-*/manifest.json")):
        files = json.loads(manifest.read_text("utf-8"))["files"]
        for name, facts in files.items():
            found[f"{manifest.parent.relative_to(run)}/{name}"] = facts["sha256"]
        rows = json.loads((manifest.parent / "metrics.json").read_text("utf-8"))
        kept = [row for row in rows if not row["metric"].startswith("speed/")]
        found[f"{manifest.parent.relative_to(run)}/metrics.json"] = json.dumps(kept)
    return found
