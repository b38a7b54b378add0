"""bench/gpu.py without a GPU: its plan and its refusals."""

from __future__ import annotations

import re

import pytest
from tests.bench.conftest import Load


def test_a_dry_run_prints_a_plan_that_fits(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = load("gpu")
    assert gpu.main(["--dry-run"]) == 0
    shown = capsys.readouterr().out
    total = re.search(r"At most ([\d.]+) minutes", shown)
    assert total is not None
    assert float(total[1]) == sum(step.minutes for step in gpu.plan(False)) <= 25
    assert {step.name for step in gpu.plan(False)} == set(gpu.STEPS)
    assert "Light of a generation, 1b" in shown


def test_no_gpu_and_an_unknown_step_are_the_users_matter(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    gpu = load("gpu")
    assert gpu.main(["--only", "everything"]) == 2
    assert "--only knows tax, swap" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert gpu.main(["--only", "tax", "--out", "/dev/null"]) == 2
        assert "no GPU here" in capsys.readouterr().err
