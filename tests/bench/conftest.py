"""The benchmark is a script and its package, not installed: tests find both by their place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))  # taken off again by the package itself


@pytest.fixture(scope="session")
def command() -> ModuleType:
    """bench/kernels.py, under a name that is not that of another package."""
    spec = importlib.util.spec_from_file_location("bench_kernels", BENCH / "kernels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
