"""The benchmark of recording on the smallest model: its JSON, tokens and exactness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MONITOR = Path(__file__).parents[2] / "bench" / "monitor.py"


def monitor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(MONITOR), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False
    )


def test_help_has_an_example() -> None:
    done = monitor("--help")
    assert done.returncode == 0
    assert "python bench/monitor.py --random" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.long
def test_a_random_model(tmp_path: Path) -> None:
    size = ["--hidden", "64", "--layers", "1", "--vocabulary", "3000", "--sequences", "8", "--tokens", "24"]
    done = monitor("--random", *size, "--repeats", "1", "--out", str(tmp_path / "monitor.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "monitor.json").read_text("utf-8"))
    assert found["identical"] is True
    assert (found["tokens"], found["float32_pass"]["tokens"]) == (8 * 24, 8 * 24)
    if found["dtype"] == "float32":
        worst = found["float32_pass"]["largest_difference"]
        assert all(worst[name] < 1e-4 for name in ("logprob", "entropy", "varentropy", "max_prob")), worst
    assert found["ratio"]["q1"] <= found["ratio"]["median"] <= found["ratio"]["q3"]
    assert found["machine"]["packages"]["torch"]
