from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autophage.scheduler import ORDER, SIDES, Done, Side, Stage, State, Work, begin, step


def run_to_the_end(state: State, todo: list[Work], data: st.DataObject) -> list[Work]:
    """Finish running work in an order that Hypothesis chooses; returns everything in the order it was started."""
    started = list(todo)
    while state.running:
        work = data.draw(st.sampled_from(sorted(state.running, key=repr)))
        state, todo = step(state, Done(work))
        started += todo
        used = [side for other in state.running for side in SIDES[other.stage]]
        assert len(used) == len(set(used)), "a side works on two things at once"
        if state.serial:
            assert len({other for other in state.running if SIDES[other.stage]}) <= 1
    assert state.finished
    return started


@given(
    data=st.data(),
    arms=st.integers(1, 5),
    generations=st.integers(1, 4),
    serial=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_everything_is_done_once_and_in_order(data: st.DataObject, arms: int, generations: int, serial: bool) -> None:
    names = [f"arm{n}" for n in range(arms)]
    committed = {name: data.draw(st.integers(0, generations + 1)) for name in names}
    state, todo = begin(names, committed, generations, serial=serial)
    started = run_to_the_end(state, todo, data)
    assert len(started) == len(set(started))
    for name in names:
        expected = [
            Work(name, g, stage)
            for g in range(committed[name], generations + 1)
            for stage in ORDER
            if g > 0 or stage is not Stage.TRAIN
        ]
        assert [work for work in started if work.arm == name] == expected


def test_serial_takes_turns_among_the_arms() -> None:
    state, todo = begin(["a", "b"], {}, 2, serial=True)
    order = []
    while state.running:
        order += [(work.arm, work.generation) for work in todo if work.stage is Stage.COMMIT]
        done = min(state.running, key=lambda work: work.stage is not Stage.COMMIT)
        state, todo = step(state, Done(done))
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_two_sides_work_at_once_on_different_arms() -> None:
    state, _ = begin(["a", "b"], {"a": 1, "b": 0}, 1, serial=False)
    both = False
    while state.running:
        sides = {side for work in state.running for side in SIDES[work.stage]}
        both |= sides == {Side.TRAINER, Side.SAMPLER} and len(state.running) == 2
        slowest = max(state.running, key=lambda work: (work.stage is Stage.TRAIN, work.arm))
        others = state.running - {slowest}
        state, _ = step(state, Done(next(iter(others or {slowest}))))
    assert both


def test_a_finished_run_has_nothing_to_do() -> None:
    state, todo = begin(["a"], {"a": 3}, 2, serial=True)
    assert (state.finished, todo) == (True, [])


def test_an_event_of_nothing_is_refused() -> None:
    state, _ = begin(["a"], {}, 1, serial=True)
    with pytest.raises(ValueError, match="is not running"):
        step(state, Done(Work("a", 1, Stage.SAMPLE)))
