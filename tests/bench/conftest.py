"""Benchmarks are scripts that are not installed. Tests find them by path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"
# `harness`, which every package imports, takes the folder off the import path, and does so once.
for package in ("gpu_bench", "light_bench"):
    sys.path.insert(0, str(BENCH))
    importlib.import_module(package)
sys.path[:] = [entry for entry in sys.path if entry != str(BENCH)]

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def load() -> Load:
    """bench/NAME.py, under a name that is not that of another package."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def command(load: Load) -> ModuleType:
    """bench/kernels.py."""
    return load("kernels")
