"""Pairs of runs for comparisons, written by the store's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.report.conftest import Plan, build

from autophage.store.rundir import RunDirectory

ONE_ARM = """\
name = "{name}"
generations = {generations}

[source]
kind = "world"

[mix]
alpha = 1.0
"""

MakeNamed = Callable[..., RunDirectory]


@pytest.fixture
def make_named(tmp_path: Path) -> MakeNamed:
    """`make_named("a", generations=2)`: a run of one arm and its control in a directory of that name."""

    def make(name: str, **plan: object) -> RunDirectory:
        defaults: dict[str, object] = {"recipe": ONE_ARM, "generations": 2, "samples": 4}
        return build(tmp_path / name, Plan(**{**defaults, **plan}))  # type: ignore[arg-type]

    return make


@pytest.fixture
def half() -> str:
    """A recipe whose arm has the same name and collapses more slowly."""
    return ONE_ARM.replace("alpha = 1.0", "alpha = 0.5")
