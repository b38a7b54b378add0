from __future__ import annotations

from pathlib import Path

import pytest

from autophage.cluster.deadlines import HARD_OVER_SOFT, SOFT_FACTOR, TOKEN_SECONDS, Deadlines, planned_stages
from autophage.cluster.scheduler import Stage, Work

TRAIN = Work("a", 1, Stage.TRAIN)


def test_patience_is_the_least() -> None:
    deadlines = Deadlines(600.0)
    assert deadlines.expected(TRAIN) == 0.0
    assert deadlines.soft(TRAIN) == 600.0
    assert deadlines.hard(TRAIN) == deadlines.call == 600.0 * HARD_OVER_SOFT
    deadlines.measured(TRAIN, 0.3)
    assert deadlines.soft(TRAIN) == 600.0


def test_a_stage_that_is_planned_to_take_hours_has_hours() -> None:
    deadlines = Deadlines(600.0, {("a", 1, Stage.TRAIN): 7200.0}, start=1000.0)
    assert deadlines.soft(TRAIN) == SOFT_FACTOR * 7200.0
    assert deadlines.hard(TRAIN) == HARD_OVER_SOFT * SOFT_FACTOR * 7200.0
    assert deadlines.soft(Work("b", 1, Stage.TRAIN)) == 600.0
    assert deadlines.call == HARD_OVER_SOFT * SOFT_FACTOR * 1000.0


def test_the_longest_that_was_measured_counts_for_every_arm() -> None:
    deadlines = Deadlines(1.0, {("a", 1, Stage.TRAIN): 10.0})
    deadlines.measured(Work("b", 0, Stage.TRAIN), 40.0)
    deadlines.measured(Work("b", 1, Stage.TRAIN), 20.0)
    assert deadlines.expected(TRAIN) == 40.0
    assert deadlines.expected(Work("a", 1, Stage.SAMPLE)) == 0.0


def test_a_token_is_not_waited_for_longer_than_patience_lasts() -> None:
    assert Deadlines(5.0).token == 5.0
    assert Deadlines(600.0).token == TOKEN_SECONDS


def test_the_plan_of_a_run_is_read() -> None:
    arms = [{"name": "a", "generations": [{"sample": 2.0}, {"train": 3, "sample": 2.5}]}]
    stages, start = planned_stages({"arms": arms, "start_seconds": 9.0})
    assert stages == {("a", 0, Stage.SAMPLE): 2.0, ("a", 1, Stage.TRAIN): 3.0, ("a", 1, Stage.SAMPLE): 2.5}
    assert start == 9.0


@pytest.mark.parametrize(
    "prediction", [None, {}, {"arms": 3, "start_seconds": 1.0}, {"arms": [{"name": "a"}], "start_seconds": 1.0}]
)
def test_without_a_plan_patience_and_measurements_are_left(prediction: dict[str, object] | None) -> None:
    assert planned_stages(prediction) == ({}, 0.0)


def test_what_a_run_writes_is_what_is_read(tmp_path: Path) -> None:
    """The names in `plan.json` are those of the scheduler's stages."""
    from autophage.plan.record import read_prediction, record_prediction
    from autophage.recipe import load_recipe
    from autophage.store.rundir import RunDirectory

    loaded = load_recipe("smoke")
    run = RunDirectory(tmp_path)
    record_prediction(loaded, run)
    stages, start = planned_stages(read_prediction(run))
    assert start > 0
    assert {(arm.name, 2, stage) for arm in loaded.arms for stage in Stage} <= stages.keys()
