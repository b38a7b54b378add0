"""The environment every test runs in, and what a test marked `gpu` needs. Set before anything imports torch."""

from __future__ import annotations

import os
from functools import cache

import pytest

pytest_plugins = ["tests.real_stack", "tests.made_runs"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait starve those that work
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as in `autophage.host.environment`


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not _cuda():
        pytest.skip("needs a CUDA device, and torch.cuda.is_available() is false here")


@cache
def _cuda() -> bool:
    """Asked when the first such test is about to run, so that other tests need not wait for torch."""
    import torch

    return torch.cuda.is_available()
