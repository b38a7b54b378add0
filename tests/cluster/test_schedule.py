"""The deal of arms to cells, also after a cell is dropped. test_scheduler.py has the state machine of one cell."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from autophage.cluster.schedule import Schedule, effort, shares
from autophage.cluster.scheduler import Done, Side, Stage, Work
from autophage.recipe import load_recipe
from autophage.recipe.arms import Arm

GENERATIONS = 2


@pytest.fixture(scope="module")
def arms() -> dict[str, Arm]:
    loaded = load_recipe("smoke", ["sweep={'mix.alpha' = [1.0, 0.5, 0.25]}"])
    return {arm.name: arm for arm in loaded.arms}


def schedule(arms: dict[str, Arm], cells: Iterable[str]) -> Schedule:
    cohorts = [(arm,) for arm in arms]
    return Schedule(list(cells), cohorts, arms, GENERATIONS, serial=True, continuous=False, streams=())


def test_the_largest_cohort_goes_first_to_the_cell_that_has_least() -> None:
    efforts = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 3.0}
    assert shares([["a"], ["b"], ["c"], ["d"]], efforts, 2) == [[["a"], ["d"]], [["b"], ["c"]]]
    assert shares([["a", "b"], ["c"]], efforts, 3) == [[["a", "b"]], [["c"]], []]


def test_effort_counts_the_tokens_written_and_those_read_in_every_epoch(arms: dict[str, Arm]) -> None:
    arm = next(iter(arms.values()))
    sample, epochs = arm.recipe.sample, arm.recipe.train.epochs
    assert effort(arm) == (sample.written + epochs * sample.count) * arm.recipe.max_tokens


def test_every_arm_is_made_once_also_where_cells_are_dropped(arms: dict[str, Arm]) -> None:
    run = schedule(arms, ["cell-0", "cell-1", "cell-2"])
    committed = dict.fromkeys(arms, 0)
    todo = [(cell, work) for cell, works in run.begin(committed).items() for work in works]
    ended = 0
    while not run.finished:
        cell, work = todo.pop(0)
        ended += 1
        if work.stage is Stage.COMMIT:
            committed[work.arm] += 1
        todo += [(cell, one) for one in run.end(cell, Done(work))]
        if ended in (7, 20):
            lost = run.cells[0]
            todo = [(owner, one) for owner, one in todo if owner != lost]
            todo += [(heir, one) for heir, works in run.drop(lost, committed).items() for one in works]
    assert run.complete
    assert len(run.cells) == 1
    assert committed == dict.fromkeys(arms, GENERATIONS + 1)


def test_works_that_were_never_begun_are_lost_with_an_actor(arms: dict[str, Arm]) -> None:
    run = schedule(arms, [""])
    [begun] = run.begin(dict.fromkeys(arms, 0)).values()
    lost = run.lose("", frozenset({Side.SAMPLER}), begun=[])
    assert lost.gone == begun
    assert not run.running("")
    assert run.regain("", Side.SAMPLER) == begun


def test_a_schedule_that_drains_begins_no_generation(arms: dict[str, Arm]) -> None:
    run = schedule(arms, [""])
    run.drain()
    assert run.draining
    assert not run.begin(dict.fromkeys(arms, 0))[""]
    assert run.finished
    assert not run.complete


def test_a_work_has_a_key_and_words() -> None:
    work = Work("alpha-1.0", 3, Stage.SWAP)
    assert (work.key, str(work)) == ("alpha-1.0@3", "stage swap of alpha-1.0, generation 3")
    assert work.previous == Work("alpha-1.0", 2, Stage.SWAP)
