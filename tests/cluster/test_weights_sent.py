"""Weights are put into Ray's object store once a generation. Everybody else receives a reference to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAULTS = Path(__file__).with_name("faults")
# Beam search samples without vLLM, whose start would take most of the time.
SETTINGS = {
    "sweep": "{}",
    "control.enabled": "false",
    "sample.beams": "2",
    "sample.count": "8",
    "sample.max_tokens": "8",
    "measure.resamples": "100",
}
COMMAND = ["run", "smoke", *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}"))]


def pickled(out: Path, trace: Path, variables: dict[str, str], *settings: str) -> Counter[str]:
    """Execute the run. Return the number of times that the weights of each digest were pickled, in all processes."""
    trace.touch()
    done = subprocess.run(
        [sys.executable, "-m", "autophage", *COMMAND, *settings, "--out", str(out)],
        env={
            **variables,
            "PYTHONPATH": os.pathsep.join([str(FAULTS), variables.get("PYTHONPATH", "")]),
            "AUTOPHAGE_TEST_PICKLED": str(trace),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Counter(trace.read_text("utf-8").split())


def test_each_generations_weights_are_serialised_once(variables: dict[str, str], tmp_path: Path) -> None:
    times = pickled(tmp_path / "run", tmp_path / "trace", variables)
    assert list(times.values()) == [1, 1, 1], "models 0 to 2"
    again = pickled(tmp_path / "run", tmp_path / "again", variables)
    assert not again, "the run was complete"


@pytest.mark.long
def test_a_resumed_run_puts_the_weights_of_its_last_generation_once(variables: dict[str, str], tmp_path: Path) -> None:
    whole = pickled(tmp_path / "run", tmp_path / "trace", variables)
    shutil.rmtree(tmp_path / "run" / "arms" / "main" / "gen-002")
    resumed = pickled(tmp_path / "run", tmp_path / "again", variables)
    assert resumed == Counter(list(whole)[1:]), "model 1 from its files, and model 2"
