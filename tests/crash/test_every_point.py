"""A run that dies at any fault point and goes on loses, doubles and falsifies nothing.

The run has two arms of a fast learner. Commits, store and events are those of every run. `-m long` dies at all points. Without
it the run dies at one point of each kind.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.conftest import Workshop

pytestmark = pytest.mark.thorough

SAMPLED = 30


def kinds(points: list[str]) -> list[int]:
    """Return the number of one point of each kind. A kind is the step with the name of its file or event."""
    first: dict[str, int] = {}
    for number, point in enumerate(points, 1):
        step, _, what = point.partition(" ")
        event = re.search(r"'kind': '([^']+)'", what)
        first.setdefault(f"{step} {event[1] if event else Path(what).name}", number)
    return list(first.values())


@pytest.fixture
def die_and_go_on(
    workshop: Workshop, recipe: Path, require_intact: Callable[..., None], tmp_path: Path
) -> Callable[[int], None]:
    """Return `die_and_go_on(17)`. The run dies at its 17th point, and the same command must complete it."""
    out = tmp_path / "run"
    command = ("run", recipe, "--out", out)

    def do(number: int) -> None:
        assert workshop(*command, kill_at=number) == -signal.SIGKILL, workshop.said
        point = f"{number}: {workshop.points[-1]}"
        assert workshop(*command) == 0, (point, workshop.said)
        require_intact(out, point)
        shutil.rmtree(out)

    return do


@pytest.fixture(scope="module")
def points(workshop: Workshop, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return every fault point of an uninterrupted run, in order."""
    assert workshop("run", recipe, "--out", tmp_path_factory.mktemp("traced") / "run") == 0, workshop.said
    return workshop.points


def test_a_run_of_two_arms_and_three_generations_has_hundreds_of_points(points: list[str]) -> None:
    assert len(points) > 300
    steps = {point.partition(" ")[0] for point in points}
    assert {"lock", "mkdir", "open", "write", "fsync", "replace", "fsync-folder", "append"} <= steps


@pytest.mark.thorough
def test_dying_at_a_point_of_each_kind(points: list[str], die_and_go_on: Callable[[int], None]) -> None:
    chosen = kinds(points)
    assert len(chosen) > SAMPLED
    for number in chosen:
        die_and_go_on(number)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_dying_at_every_point(points: list[str], die_and_go_on: Callable[[int], None]) -> None:
    for number in range(1, len(points) + 1):
        die_and_go_on(number)
