"""`try` on the real engine: samples, verdicts and times, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.real_stack import AUTOPHAGE

from autophage.recipe import read_recipe_file

pytestmark = pytest.mark.slow
COUNT = 5


def test_ten_samples_of_model_0_and_nothing_kept(variables: dict[str, str], cache: Path, tmp_path: Path) -> None:
    text = read_recipe_file("smoke").path.read_text("utf-8").replace('name = "smoke"', 'name = "tried"')
    recipe = tmp_path / "tried.toml"
    recipe.write_text(f'{text}\n[[gate]]\nkind = "verifier"\n', "utf-8")
    folder = tmp_path / "empty"
    folder.mkdir()
    command = [*AUTOPHAGE, "try", str(recipe), "--count", str(COUNT), "--json", "--set", "sample.temperature=0.5"]
    before = {path.name for path in cache.iterdir()}
    done = subprocess.run(
        command, env={**variables, **_paths()}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    samples = facts["samples"]
    assert (len(samples), facts["arm"], facts["model"]) == (COUNT, "alpha-1.0", "from-source")
    assert facts["tokens"] == sum(one["tokens"] for one in samples)
    assert all(one["tokens"] > 0 and one["surprisal"] > 0 and one["entropy"] > 0 for one in samples)
    assert all(one["accepted"] or one["gate"].startswith("verifier: ") for one in samples)
    accepted = sum(one["accepted"] for one in samples) / COUNT
    assert facts["metrics"]["gate/accepted"] == pytest.approx(accepted)
    assert set(facts["seconds"]) == {"base model", "loading", "starting", "sampling", "judging"}
    assert list(folder.iterdir()) == []
    assert {path.name for path in cache.iterdir()} - before <= {"models"}


def _paths() -> dict[str, str]:
    """The import path, absolute: the command runs in another folder."""
    found = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(os.path.abspath(one) for one in found.split(os.pathsep) if one)}
