"""State of a view after a list of events."""

from __future__ import annotations

from tests.live.conftest import Event
from tests.present import present

from autophage.live.reducer import RunState, fold, fold_all


def test_a_running_stage_has_its_progress(first_attempt: list[Event]) -> None:
    state = fold_all(first_attempt)
    assert {name: arm.committed for name, arm in state.arms.items()} == {"main": 2, "control": 1}
    stage = present(state.arms["control"].stage)
    assert (stage.name, stage.generation, stage.done, stage.total) == ("train", 1, 40, 100)
    assert stage.tokens_per_second == 6000.0
    assert state.arms["main"].stage is None
    assert state.arms["control"].control
    assert not state.arms["main"].control
    assert (state.committed, state.total) == (3, 6)
    assert state.notes == ("starting sampler and trainer",)


def test_headlines_become_series_by_generation(finished: list[Event]) -> None:
    arms = fold_all(finished).arms
    assert arms["main"].series["knowledge/accuracy.torso"] == ((0, 0.9), (1, 0.6000000000000001), (2, 0.3))
    assert [generation for generation, _ in arms["control"].series["fluency/ppl_form"]] == [0, 1, 2]


def test_an_interruption_ends_what_was_running(interrupted: list[Event]) -> None:
    state = fold_all(interrupted)
    assert state.outcome == "interrupted"
    assert state.message == "Ctrl-C"
    assert all(arm.stage is None for arm in state.arms.values())


def test_a_stage_whose_actor_died_runs_no_more(first_attempt: list[Event]) -> None:
    place = {"arm": "control", "generation": 1, "stage": "train"}
    state = fold(fold_all(first_attempt), {"time": 500.0, "kind": "stage-lost", **place})
    assert state.arms["control"].stage is None
    again = fold(state, {"time": 510.0, "kind": "stage-start", **place})
    assert (present(again.arms["control"].stage).done, again.outcome) == (0, "")


def test_a_failure_carries_its_error(first_attempt: list[Event]) -> None:
    state = fold(fold_all(first_attempt), {"time": 500.0, "kind": "failed", "error": "loss is not finite"})
    assert (state.outcome, state.message) == ("failed", "loss is not finite")


def test_a_resumed_run_counts_what_the_directory_holds(finished: list[Event]) -> None:
    resumed = next(number for number, event in enumerate(finished) if number and event["kind"] == "run-start")
    state = fold_all(finished[: resumed + 1])
    assert (state.attempts, state.resumed_at, state.outcome) == (2, 3, "")
    assert state.arms["main"].series["knowledge/accuracy.torso"][-1][0] == 1
    assert fold_all(finished).outcome == "finished"
    assert fold_all(finished).committed == 6


def test_a_resumption_forgets_what_is_no_longer_committed(first_attempt: list[Event]) -> None:
    """Somebody removed main's last generation between the attempts: its point must leave the curve."""
    again = {**first_attempt[0], "time": 900.0, "committed": {"main": 1, "control": 1}}
    state = fold_all([*first_attempt, again])
    assert state.arms["main"].committed == 1
    assert state.arms["main"].series["knowledge/accuracy.torso"] == ((0, 0.9),)


def test_elapsed_leaves_out_the_time_between_attempts(interrupted: list[Event], finished: list[Event]) -> None:
    first = interrupted[-1]["time"] - interrupted[0]["time"]
    second = finished[-1]["time"] - finished[len(interrupted)]["time"]
    assert fold_all(finished).elapsed(now=1e9) == first + second


def test_a_commit_that_comes_twice_counts_once(first_attempt: list[Event]) -> None:
    commit = next(event for event in reversed(first_attempt) if event["kind"] == "commit")
    once, twice = fold_all(first_attempt), fold_all([*first_attempt, commit])
    assert twice.arms == once.arms


def test_events_of_two_stages_at_once_stay_apart() -> None:
    """A trainer may start on an arm while its corpus is still being sampled."""
    sample = {"arm": "a", "generation": 0, "stage": "sample"}
    train = {"arm": "a", "generation": 1, "stage": "train"}
    state = fold_all(
        [
            {"time": 1.0, "kind": "stage-start", **sample},
            {"time": 2.0, "kind": "stage-start", **train},
            {"time": 3.0, "kind": "stage-progress", **sample, "done": 7, "total": 9, "tokens_per_second": 1.0},
            {"time": 4.0, "kind": "stage-end", **train, "seconds": 2.0, "tokens": 0},
        ]
    )
    assert [(stage.name, stage.done) for stage in state.arms["a"].running.values()] == [("sample", 7)]


def test_folding_leaves_the_earlier_state_alone(first_attempt: list[Event]) -> None:
    before = fold_all(first_attempt)
    fold(before, {"time": 999.0, "kind": "note", "text": "more"})
    assert before.notes == ("starting sampler and trainer",)


def test_unknown_events_are_ignored() -> None:
    assert fold(RunState(), {"time": 5.0, "kind": "weather", "sky": "blue"}) == RunState(last=5.0)


def test_base_training_is_shown_until_stages_begin(first_attempt: list[Event]) -> None:
    base = {"time": 101.0, "kind": "base-progress", "done": 10, "total": 100, "loss": 3.5}
    assert present(fold_all([first_attempt[0], base]).base).done == 10
    assert fold_all([first_attempt[0], base, *first_attempt[1:]]).base is None
