"""Runs of a learner in closed form, which take seconds and need no vLLM, with trackers that keep their stores in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autophage.store.rundir import RunDirectory

RECIPE = """
name = "drift"
generations = {generations}

[learner]
kind = "gaussian"
repetitions = {repetitions}

[sweep]
"sample.count" = [20, 100]
"""
PATIENCE = 240
"""Seconds for a tracker on a busy machine."""
ARMS = ["count-20", "count-100", "control_count-20", "control_count-100"]


@dataclass
class Place:
    """A recipe file, a folder for the trackers' own files, and the address of an mlflow store."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "local"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"

    def recipe(self, *, generations: int = 3, repetitions: int = 20) -> Path:
        path = self.root / "drift.toml"
        path.write_text(RECIPE.format(generations=generations, repetitions=repetitions), "utf-8")
        return path

    def settings(self, *trackers: str, uri: str | None = None) -> list[str]:
        named = ", ".join(f'"{tracker}"' for tracker in trackers)
        words = [f"track.to=[{named}]", f"track.wait={PATIENCE}"]
        words += [f"track.folder={self.folder}"] if set(trackers) - {"mlflow"} else []
        words += [f"track.mlflow_uri={uri or self.uri}"] if "mlflow" in trackers else []
        return [word for setting in words for word in ("--set", setting)]

    def run(self, out: Path, *settings: str) -> RunDirectory:
        done = self.autophage("run", self.root / "drift.toml", "--out", out, *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return RunDirectory(out)

    def autophage(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line in the folder: some trackers write into the working directory."""
        command = [sys.executable, "-m", "autophage", *map(str, words)]
        return subprocess.run(command, env=variables(), cwd=self.root, capture_output=True, text=True, check=False)


def variables() -> dict[str, str]:
    return {**os.environ, "WANDB_MODE": "offline", "COLUMNS": "120"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


Hashes = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def hashes() -> Hashes:
    """The bytes of every file of a run that holds results."""
    return lambda run: {
        str(path.relative_to(run)): path.read_bytes()
        for path in [*run.glob("arms/**/*"), run / "metrics.parquet"]
        if path.is_file()
    }
