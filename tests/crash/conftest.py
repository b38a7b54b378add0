"""Runs of a small learner that tests kill at chosen points. A check compares their results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autophage.store.atomic import TEMPORARY
from autophage.store.manifest import MANIFEST
from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory, read_events
from autophage.store.verify import verify_run

RECIPE = """
name = "crash"
generations = 3
[learner]
kind = "gaussian"
repetitions = 4
[sample]
count = 12
[mix]
pool = "accumulate"
alpha = 0.7
"""
"""Two arms, main and control. Every fit needs every earlier corpus."""


@dataclass
class Workshop:
    """Run `autophage` in children of a process that has imported it (`zygote.py`)."""

    zygote: subprocess.Popen[str]
    folder: Path
    said: str = ""

    def __call__(self, *arguments: object, kill_at: int = 0) -> int:
        """Return the exit code of a command that dies at its fault point number `kill_at`. With 0 it lives."""
        log, trace = self.folder / "said.txt", self.folder / "trace.txt"
        trace.unlink(missing_ok=True)
        request = {"arguments": list(map(str, arguments)), "fault": f"{kill_at}:{trace}", "log": str(log)}
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write(json.dumps(request) + "\n")
        self.zygote.stdin.flush()
        code: int = json.loads(self.zygote.stdout.readline())["code"]
        self.said = log.read_text("utf-8")
        return code

    @property
    def points(self) -> list[str]:
        """Return the fault points that the last command passed."""
        return [line.partition(" ")[2] for line in (self.folder / "trace.txt").read_text("utf-8").splitlines()]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
        yield Workshop(zygote, tmp_path_factory.mktemp("workshop"))
        assert zygote.stdin is not None
        zygote.stdin.close()


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "crash.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="session")
def undisturbed(workshop: Workshop, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert workshop("run", recipe, "--out", out) == 0, workshop.said
    return out


@pytest.fixture(scope="session")
def require_intact(undisturbed: Path) -> Callable[..., None]:
    """Return `require_intact(out, "story")`, which requires a finished run without lost, doubled or false results.

    A repair makes generations a second time and keeps removed files. `repaired` allows for both.
    """

    def require(out: Path, story: str, *, repaired: bool = False) -> None:
        assert outcome(out) == outcome(undisturbed), story
        verified = verify_run(RunDirectory(out), ["main", "control"])
        assert verified.faults == [], (story, verified.faults)
        assert all(repaired and "set-aside" in note for note in verified.notes), (story, verified.notes)
        assert [path for path in out.rglob("*") if TEMPORARY in path.name] == [], story
        told = [(one["arm"], one["generation"]) for one in read_events(out / "events.jsonl") if one["kind"] == "commit"]
        assert repaired or len(told) == len(set(told)), (story, told)
        assert (out / "report.html").is_file(), story

    return require


def outcome(out: Path) -> dict[str, Any]:
    """Return file hashes and metrics, which are equal in two runs of one recipe.

    Manifests are left out. They also name a generation's origin.
    """
    found: dict[str, Any] = {}
    for manifest in sorted(out.glob(f"arms/*/gen-*/{MANIFEST}")):
        files = json.loads(manifest.read_text("utf-8"))["files"]
        found[str(manifest.parent.relative_to(out))] = {name: facts["sha256"] for name, facts in files.items()}
    found["metrics"] = read_metrics_table(RunDirectory(out)).to_pylist()
    return found
