"""The time left, against recordings whose true remainder is known."""

from __future__ import annotations

import pytest
from tests.live.conftest import Event
from tests.present import present

from autophage.live.eta import base_left, time_left
from autophage.live.reducer import BaseTraining, fold_all


def test_serial_stages_add_up(first_attempt: list[Event]) -> None:
    """The rest is 6 s of training, 9 s of that generation, and 19 s for each of two more.

    The train stage is at 40 % by its own speed.
    """
    now = first_attempt[-1]["time"]
    assert time_left(fold_all(first_attempt), now) == pytest.approx(6 + 9 + 2 * 19)


def test_an_estimate_shrinks_with_the_clock(first_attempt: list[Event]) -> None:
    state = fold_all([event for event in first_attempt if event["kind"] != "stage-progress"])
    now = first_attempt[-1]["time"]
    assert present(time_left(state, now)) - present(time_left(state, now + 3)) == pytest.approx(3)


def test_unknown_before_every_kind_of_stage_was_seen(first_attempt: list[Event]) -> None:
    trained = next(number for number, event in enumerate(first_attempt) if event.get("stage") == "train")
    state = fold_all(first_attempt[:trained])
    assert state.committed == 2
    assert time_left(state, state.last) is None


def test_a_stage_far_enough_stands_in_for_a_measured_one(first_attempt: list[Event]) -> None:
    """The first train stage is at 40 % after 4 s. All train stages take 10 s."""
    events = [event for event in first_attempt if (event.get("arm"), event.get("generation")) != ("main", 1)]
    state = fold_all(events)
    assert time_left(state, events[-1]["time"]) is not None


def test_overlapping_arms_finish_sooner_but_not_sooner_than_the_longest(first_attempt: list[Event]) -> None:
    """Both arms train at the same time. The rest is the chain of one arm."""
    events = [event for event in first_attempt if event["kind"] == "run-start"]
    for arm in ("main", "control"):
        time = 100.0
        for stage, seconds in (("sample", 5.0), ("measure", 5.0), ("commit", 0.0), ("train", 10.0)):
            number = 1 if stage == "train" else 0
            place = {"arm": arm, "generation": number, "stage": stage}
            events.append({"time": time, "kind": "stage-start", **place})
            time += seconds
            events.append({"time": time, "kind": "stage-end", **place, "seconds": seconds, "tokens": 0})
        events.append({"time": time, "kind": "commit", "arm": arm, "generation": 0, "metrics": {}})
    one_arm = (5 + 5) + (10 + 5 + 5)
    assert time_left(fold_all(events), 120.0) == pytest.approx(one_arm)


def test_nothing_is_left_of_a_finished_run(finished: list[Event]) -> None:
    assert time_left(fold_all(finished), 1e9) == 0.0


def test_nothing_is_promised_for_a_stopped_run(interrupted: list[Event]) -> None:
    assert time_left(fold_all(interrupted), 1e9) is None


def test_base_training() -> None:
    assert base_left(BaseTraining(started=0.0, done=250, total=1000, loss=None), now=10.0) == 30.0
    assert base_left(BaseTraining(started=0.0, done=0, total=1000, loss=None), now=10.0) is None
