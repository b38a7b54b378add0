"""The benchmark of mixed adapters, on the smallest model: its rows, its ratios, and that grouping changes no token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLER = Path(__file__).parents[2] / "bench" / "sampler.py"


def sampler(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SAMPLER), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False
    )


def test_help_has_an_example() -> None:
    done = sampler("--help")
    assert done.returncode == 0
    assert "python bench/sampler.py --quick" in done.stdout


def test_a_contender_that_does_not_exist_is_named() -> None:
    done = sampler("--only", "merged", "grouped-5")
    assert done.returncode == 2
    assert "merged grouped-5: contenders are default-1, default-4, grouped-1" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_quick(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = sampler("--quick", "--only", "merged", "grouped-4", "grouped-8", "stock-4", "--out", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    speeds = {row["contender"]: row["tokens_per_second"] for row in rows if "against" not in row}
    assert list(speeds) == ["merged", "grouped-4", "grouped-8", "stock-4"]
    ratios = {(row["contender"], row["against"]): row["ratio"] for row in rows if "against" in row}
    assert set(ratios) == {
        ("grouped-4", "merged"),
        ("grouped-8", "merged"),
        ("grouped-4", "stock-4"),
        ("stock-4", "merged"),
    }
    for ratio, values in ratios.items():
        each = [a / b for a, b in zip(*(speeds[name]["values"] for name in ratio), strict=True)]
        assert values["values"] == pytest.approx(each, abs=1e-3)
        assert values["low"] <= values["median"] <= values["high"]
    assert rows[0]["same_greedy_documents"] == 1.0
    assert rows[0]["machine"]["packages"]["torch"]
    assert "grouped-4 / stock-4" in done.stderr
