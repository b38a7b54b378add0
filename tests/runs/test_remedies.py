"""Remedies in the real loop. Schedules and rare documents are equal in the engine and in `loop.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

SETTINGS = [
    'sweep={remedy = ["none", "late"]}',
    'remedies.late={mix.alpha = 0.5, mix.schedule = "last-chance", mix.rare = 4.0}',
    "sample.count=32",
    "base.tokens=20000",
]


def test_remedies_through_engine_and_loop(
    autophage: Run, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    engine, loop = tmp_path / "engine", tmp_path / "loop"
    changed = [part for setting in SETTINGS for part in ("--set", setting)]
    done = autophage("run", "smoke", *changed, "--out", engine)
    assert done.returncode == 0, done.stderr[-2000:]
    code = "import sys, pathlib; from autophage.loop import run_loop; run_loop('smoke', pathlib.Path(sys.argv[1]), sys.argv[2:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(loop), *SETTINGS], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = contents(engine)
    assert found == contents(loop)
    # The rare come into a control of its own, and into nothing that reads no human text.
    assert {path.name for path in (engine / "arms").iterdir()} == {
        "remedy-none", "remedy-late", "control", "control_remedy-late"
    }  # fmt: skip
    weights = "arms/{}/gen-001/adapter/adapter_model.safetensors"
    assert len({found[weights.format(path.name)] for path in (engine / "arms").iterdir()}) == 4
    done = autophage("report", engine, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    (late,) = told["remedies"]["outcomes"]
    assert late["verdict"] in ("no effect shown", "nothing to hold")  # one seed shows no effect
    costs = told["costs"]
    assert costs["remedy-late"]["trained"] > 0
    assert costs["remedy-late"]["sampled"] > 0
    assert set(costs["control"]["seconds"]) == {"train", "swap", "sample", "measure"}
