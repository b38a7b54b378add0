"""Quick runs of every benchmark of the loop: rows are well formed, and their figures finite."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def quick(name: str, out: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "autophage", "bench", name, "--quick", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Rows are in {out}" in done.stdout
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    for row in rows:
        assert row["benchmark"] == name
        assert row["commit"]
        assert row["versions"]["torch"]
    figures = [row for row in rows if "target" not in row]
    assert figures
    for row in figures:
        assert row["note"] == "", row
        assert row["values"]
        assert all(math.isfinite(value) for value in row["values"]), row
        assert row["low"] <= row["median"] <= row["high"]
    return figures


def value(rows: list[dict[str, Any]], contender: str, figure: str) -> float:
    [found] = [row["median"] for row in rows if (row["contender"], row["figure"]) == (contender, figure)]
    return float(found)


@pytest.mark.long
def test_loop(tmp_path: Path) -> None:
    rows = quick("loop", tmp_path / "rows.jsonl", "--peers", "naive tuned,generate 4")
    parts = sum(value(rows, "autophage", part) for part in ("train", "swap", "sample", "save"))
    assert value(rows, "autophage", "generation") == pytest.approx(parts, rel=1e-6)
    both = value(rows, "naive tuned", "sample process") + value(rows, "naive tuned", "train process")
    assert value(rows, "naive tuned", "generation") == pytest.approx(both)
    assert value(rows, "autophage over naive tuned", "generation") > 1
    assert value(rows, "generate 4", "sampling rate") > 0


@pytest.mark.long
def test_arms(tmp_path: Path) -> None:
    rows = quick("arms", tmp_path / "rows.jsonl")
    assert 0 < value(rows, "together 2", "working") < value(rows, "together 2", "wall")
    expected = value(rows, "together 2", "wall") / (2 * value(rows, "alone", "wall"))
    assert value(rows, "autophage", "of 2 runs") == pytest.approx(expected)


@pytest.mark.long
def test_sampler(tmp_path: Path) -> None:
    rows = quick("sampler", tmp_path / "rows.jsonl", "--only", "merged,grouped-4,grouped-8,stock-4")
    speeds = {name: value(rows, name, "sampling rate") for name in ("merged", "grouped-4", "grouped-8", "stock-4")}
    compared = {row["contender"]: row["median"] for row in rows if " over " in row["contender"]}
    assert compared == {
        f"{name} over {other}": pytest.approx(speeds[name] / speeds[other])
        for name, other in (
            ("grouped-4", "merged"),
            ("grouped-4", "stock-4"),
            ("grouped-8", "merged"),
            ("stock-4", "merged"),
        )
    }
    assert value(rows, "grouped and stock, 8", "same greedy documents") == 1


@pytest.mark.long
def test_swap(tmp_path: Path) -> None:
    rows = quick("swap", tmp_path / "rows.jsonl")
    for contender in ("autophage", "vllm add_lora", "reload"):
        assert value(rows, contender, "swap p50") <= value(rows, contender, "first token p50")
    assert value(rows, "restart", "first token p50") > value(rows, "autophage", "first token p50")


@pytest.mark.long
def test_trainer(tmp_path: Path) -> None:
    rows = quick("trainer", tmp_path / "rows.jsonl")
    assert {row["contender"] for row in rows} >= {"autophage", "trl default", "trl clean"}
    assert not [row for row in rows if row["figure"] == "mfu"]  # the peak of this device is not known


@pytest.mark.long
def test_overlap(tmp_path: Path) -> None:
    rows = quick("overlap", tmp_path / "rows.jsonl")
    assert 0 < value(rows, "autophage serial", "overlap efficiency") <= 1


@pytest.mark.long
def test_exactness(tmp_path: Path) -> None:
    rows = quick("exactness", tmp_path / "rows.jsonl")
    assert value(rows, "autophage", "identical") == 1
    assert value(rows, "autophage", "digest") == 1
    assert value(rows, "autophage", "preemptions") > 0
    assert value(rows, "vllm, reused id", "identical to the new weights") < 1


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_first_gpu(tmp_path: Path) -> None:
    """Every part to its end at the smallest shape. The same command again measures nothing."""
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "autophage", "bench", "first_gpu", "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert {row["step"] for row in rows if row.get("contender") == "step" and row["values"]} == {
        "kernels", "tests", "compiled", "swap-tiny", "arm-tiny", "plain-tiny", "tax-tiny", "both-tiny",
    }  # fmt: skip
    found = {
        (row["point"], row["contender"], row["figure"]): row["median"]
        for row in rows
        if row.get("contender") not in ("step", "test") and row.get("values")
    }
    assert all(math.isfinite(figure) for figure in found.values())
    canary = "swap-tiny canary"
    if not any("NVIDIA" in row["device"] for row in rows):
        assert found[canary, "same adapter", "largest"] < 1e-3
    assert found[canary, "same adapter", "mean"] < found[canary, "one step of 1e-5 behind", "mean"]
    assert found["arm-tiny recording", "autophage", "same tokens on and off"] == 1
    assert found["arm-tiny generation", "autophage", "generation"] > 0
    for count in (0, 1, 2):
        tax = (
            found["LoRA tax tiny", f"K = {count}", "sampling rate"]
            / found["LoRA tax tiny", "without LoRA", "sampling rate"]
        )
        assert found["LoRA tax tiny", f"K = {count}", "of without LoRA"] == pytest.approx(tax)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.stderr.count("measured before") == 8
    assert [row for row in rows if not row.get("note", "").startswith("left out")] == [
        row
        for row in map(json.loads, out.read_text("utf-8").splitlines())
        if not row.get("note", "").startswith("left out")
    ]
