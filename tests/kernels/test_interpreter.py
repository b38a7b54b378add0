"""Runs `interpreted/` in processes of their own: TRITON_INTERPRET must be set before Triton is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "file", sorted(path.name for path in (Path(__file__).parent / "interpreted").glob("test_*.py"))
)
def test_the_kernels_by_interpreter(file: str) -> None:
    options = ["-q", "-W", "ignore", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, f"tests/kernels/interpreted/{file}"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "skipped" not in ran.stdout
