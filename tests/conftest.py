"""The environment every test runs in, and what a test marked `gpu` needs. Set before anything imports torch."""

from __future__ import annotations

import os
import re
from functools import cache

import pytest

from autophage.host import bytecode

pytest_plugins = ["tests.real_stack", "tests.made_runs", "tests.offers", "tests.tiny_families"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait starve those that work
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as in `autophage.host.environment`
bytecode.keep()


ON_REQUEST = ("long", "demo")
"""Markers of tests that run only on request, whatever else an expression says."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests on request, unless `-m` names their marker or the command line names the test."""
    asked: str = config.option.markexpr
    left_out = [marker for marker in ON_REQUEST if marker not in re.findall(r"\w+", asked.replace("not ", "not_"))]
    named = [argument for argument in config.args if "::" in argument]
    out = [
        item
        for item in items
        if any(item.get_closest_marker(marker) for marker in left_out)
        and not any(item.nodeid.startswith(name.removeprefix("./")) for name in named)
    ]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not _cuda():
        pytest.skip("needs a CUDA device, and torch.cuda.is_available() is false here")


@cache
def _cuda() -> bool:
    """Ask torch when the first such test starts, so that other tests need not import it."""
    import torch

    return torch.cuda.is_available()
