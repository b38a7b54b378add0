"""A fork continues another run with another recipe, in a directory of its own."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.conftest import Workshop

from autophage.store.manifest import check, committed
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough


def generations(out: Path, arm: str) -> list[dict[str, str]]:
    """Return the hashes of each generation's files."""
    manifests = committed(RunDirectory(out), arm)
    return [{name: facts["sha256"] for name, facts in one.files.items()} for one in manifests]


@pytest.fixture
def parent(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "parent"))


def test_a_fork_with_the_same_recipe_ends_as_the_run_it_comes_from(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fork"
    assert workshop("run", recipe, "--out", out, "--fork-from", f"{parent}@1") == 0, workshop.said
    for arm in ("main", "control"):
        assert generations(out, arm) == generations(parent, arm)
        assert all(check(RunDirectory(out), arm, number) == [] for number in range(4))
    assert workshop("verify", out) == 0, workshop.said
    assert workshop("run", recipe, "--out", out) == 0
    assert "nothing to do" in workshop.said


def test_a_changed_recipe_goes_on_from_the_generation_and_says_where_it_is_from(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fork"
    changed = ("--set", "mix.alpha=0.2", "--set", "generations=5")
    assert workshop("run", recipe, *changed, "--out", out, "--fork-from", f"{parent}@1") == 0, workshop.said
    assert generations(out, "main")[:2] == generations(parent, "main")[:2]
    assert generations(out, "main")[2] != generations(parent, "main")[2]
    assert len(generations(out, "main")) == 6
    told = RunDirectory(out).read_environment()["forked_from"]
    assert (told["generation"], told["arms"]["main"]["arm"], told["run"]) == (1, "main", "../parent")
    notes = [manifest.notes.get("forked_from") for manifest in committed(RunDirectory(out), "main")]
    assert [note is not None for note in notes] == [True, True, False, False, False, False]
    assert workshop("verify", out) == 0, workshop.said


def test_arms_of_a_new_sweep_fork_from_the_only_arm_like_them(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path
) -> None:
    text = recipe.read_text("utf-8").replace("alpha = 0.7\n", "") + '\n[sweep]\n"mix.alpha" = [0.3, 0.9]\n'
    swept = tmp_path / "swept.toml"
    swept.write_text(text, "utf-8")
    out = tmp_path / "fork"
    assert workshop("run", swept, "--out", out, "--fork-from", f"{parent}@0") == 0, workshop.said
    arms = sorted(path.name for path in (out / "arms").iterdir())
    assert len(arms) == 3
    for arm in arms:
        assert generations(out, arm)[0] == generations(parent, "control" if arm == "control" else "main")[0]
    assert workshop("verify", out) == 0, workshop.said


def test_a_changed_recipe_is_refused_with_what_differs_and_the_way_out(
    workshop: Workshop, recipe: Path, parent: Path
) -> None:
    assert workshop("run", recipe, "--set", "mix.alpha=0.2", "--out", parent) == 2
    assert "mix.alpha: 0.7 -> 0.2" in workshop.said
    assert f"--fork-from {parent}@GENERATION" in workshop.said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--fork-from", "PARENT@3"), "leaves nothing to make after generation 3"),
        (("--fork-from", "PARENT"), "runs/demo@3"),
        (("--fork-from", "nowhere@1"), "there is no such directory"),
        (("--fork-from", "PARENT@7", "--set", "generations=9"), "has no generation 7 of main; its newest is 3"),
        (("--fork-from", "PARENT@1", "--set", "learner.repetitions=5"), "learner.repetitions: 4 -> 5"),
    ],
)
def test_what_cannot_be_forked_is_refused_and_leaves_nothing(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    out = tmp_path / "fork"
    given = [option.replace("PARENT", str(parent)) for option in options]
    assert workshop("run", recipe, "--out", out, *given) == 2
    assert told in workshop.said
    assert not out.exists()


def test_a_generation_that_is_not_true_is_not_forked_from(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path
) -> None:
    (parent / "arms" / "main" / "gen-001" / "metrics.json").write_text("[]", "utf-8")
    out = tmp_path / "fork"
    assert workshop("run", recipe, "--out", out, "--fork-from", f"{parent}@1") == 1
    assert "gen-001/metrics.json" in workshop.said
    assert not out.exists()
    assert workshop("run", recipe, "--out", out, "--fork-from", f"{parent}@0") == 0, workshop.said


def test_a_directory_with_another_run_is_not_forked_into(
    workshop: Workshop, recipe: Path, undisturbed: Path, parent: Path
) -> None:
    assert workshop("run", recipe, "--out", parent, "--fork-from", f"{undisturbed}@1") == 2
    assert "no fork from generation 1" in workshop.said


@pytest.mark.thorough
def test_a_fork_that_dies_anywhere_goes_on_with_its_command_or_without_saying_where_it_is_from(
    workshop: Workshop, recipe: Path, parent: Path, tmp_path: Path, require_intact: Callable[..., None]
) -> None:
    command = ("run", recipe, "--out", tmp_path / "traced", "--fork-from", f"{parent}@1")
    assert workshop(*command) == 0, workshop.said
    last = max(number for number, point in enumerate(workshop.points, 1) if "gen-001" in point)
    assert last > 100
    for number in range(2, last, 9):
        out = tmp_path / "fork"
        command = ("run", recipe, "--out", out, "--fork-from", f"{parent}@1")
        assert workshop(*command, kill_at=number) == -signal.SIGKILL, workshop.said
        point = f"{number}: {workshop.points[-1]}"
        assert workshop(*(command[:4] if RunDirectory(out).exists and number % 2 else command)) == 0, workshop.said
        require_intact(out, point)
        assert json.loads((out / "fork.json").read_text("utf-8"))["generation"] == 1
        shutil.rmtree(out)
