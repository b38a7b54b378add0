"""A run on the real stack dies at a fault point, in any of its processes, and goes on with the same command.

A learner's run dies at every one of its points (`tests/crash`). Here each death costs two starts of vLLM, so the points are
a sample of the whole run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

AUTOPHAGE = [sys.executable, "-m", "autophage"]
Contents = Callable[[Path], dict[str, object]]

RECIPE = ("smoke", "--set", "control.enabled=false", "--set", "generations=3")
DEATHS = 14
SMALLEST = 100
"""Least number of points of a run with two arms and three generations."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Traced:
    """An undisturbed run, its environment, and the points that it passed."""

    out: Path
    variables: dict[str, str]
    points: list[str]


def finish(out: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*AUTOPHAGE, "run", *RECIPE, "--out", str(out)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def run_to_point(out: Path, number: int, trace: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*AUTOPHAGE, "run", *RECIPE, "--out", str(out)]
    armed = {**variables, "AUTOPHAGE_FAULT": f"{number}:{trace}"}
    return subprocess.run(command, env=armed, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Traced:
    folder = tmp_path_factory.mktemp("traced")
    fresh = {**variables, "AUTOPHAGE_CACHE": str(folder / "cache")}  # so that making the base model is among the points
    done = run_to_point(folder / "run", 0, folder / "trace", fresh)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    points = [line.partition(" ")[2] for line in (folder / "trace").read_text("utf-8").splitlines()]
    return Traced(folder / "run", fresh, points)


def test_the_run_passes_points_in_all_its_processes(traced: Traced) -> None:
    assert len(traced.points) > SMALLEST
    print(f"{len(traced.points)} fault points")
    steps = {" ".join(point.split()[:2]) for point in traced.points}
    assert {"trainer fit", "trainer step", "trainer measure", "trainer check_canary"} <= steps
    assert {"sampler install", "sampler canary", "sampler ended", "sampler sampled", "sampler remove"} <= steps


def test_dying_while_the_base_model_is_made(
    traced: Traced, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    (number,) = [
        number for number, point in enumerate(traced.points, 1) if point.startswith("fsync ") and "/models/" in point
    ]
    fresh = {**variables, "AUTOPHAGE_CACHE": str(tmp_path / "cache")}
    run_to_point(tmp_path / "run", number, tmp_path / "trace", fresh)
    assert len((tmp_path / "trace").read_text("utf-8").splitlines()) >= number
    again = finish(tmp_path / "run", fresh)
    assert again.returncode == 0, again.stderr[-2000:]
    assert without_paths(contents(tmp_path / "run")) == without_paths(contents(traced.out))
    assert [path for path in (tmp_path / "cache" / "models").iterdir() if path.name.startswith(".")] == []


def without_paths(files: dict[str, object]) -> dict[str, object]:
    """Return the files of a run except those that hold the path of the base model."""
    return {name: facts for name, facts in files.items() if not name.endswith("adapter_config.json")}


@pytest.mark.parametrize("death", range(DEATHS))
def test_dying_anywhere(death: int, traced: Traced, contents: Contents, tmp_path: Path) -> None:
    number = 1 + round((len(traced.points) - 1) * (death + 0.5) / DEATHS)
    out, trace = tmp_path / "run", tmp_path / "trace"
    killed = run_to_point(out, number, trace, traced.variables)
    points = trace.read_text("utf-8").splitlines()
    assert len(points) >= number, "the point was not reached"
    story = f"point {number} of {len(traced.points)}, {points[number - 1]}: exit code {killed.returncode}"
    print(story)
    again = finish(out, traced.variables)
    assert again.returncode == 0, (story, again.stderr[-2000:])
    assert contents(out) == contents(traced.out), story
