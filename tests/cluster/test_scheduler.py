from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autophage.cluster.scheduler import (
    MOST_HELD,
    ORDER,
    SIDES,
    Done,
    Side,
    Stage,
    State,
    Work,
    begin,
    dependents,
    drain,
    join,
    lose,
    regain,
    step,
)
from autophage.recipe.arms import Arm
from autophage.recipe.batching import MOST_MIXED, cohorts_of, is_continuous
from autophage.recipe.schema import Recipe


def alone(*names: str) -> list[list[str]]:
    return [[name] for name in names]


def check_sides(state: State) -> None:
    """Require that a side works on one thing at a time. Only sampling is shared."""
    trainer = [work for work in state.running if Side.TRAINER in SIDES[work.stage]]
    sampling = [work for work in state.running if work.stage is Stage.SAMPLE]
    swapping = [work for work in state.running if work.stage is Stage.SWAP]
    assert len(trainer) <= 1, "the trainer works on two things at once"
    if not state.continuous:
        assert not (sampling and swapping)
        assert len({work.generation for work in sampling}) <= 1
        assert any({work.arm for work in sampling} <= set(cohort) for cohort in state.cohorts)
    if state.serial:
        assert not (trainer and sampling)
    held = [work for work in state.waiting if work.stage is Stage.SAMPLE]
    most = MOST_HELD if state.continuous else 2 * max(map(len, state.cohorts))
    assert len(held) + len(sampling) + len(swapping) <= most, "more models than the sampler has room for"


def by_order(work: Work) -> tuple[int, int]:
    return work.generation, ORDER.index(work.stage)


def run_to_the_end(state: State, todo: list[Work], data: st.DataObject) -> list[Work]:
    """Finish running works in an order that Hypothesis chooses. Returns all works in the order of their start."""
    started = list(todo)
    check_sides(state)
    while state.running:
        work = data.draw(st.sampled_from(sorted(state.running, key=repr)))
        state, todo = step(state, Done(work, data.draw(st.floats(0, 9))))
        started += todo
        check_sides(state)
    assert state.finished
    return started


def whole(name: str, committed: int, generations: int) -> list[Work]:
    return [
        Work(name, g, stage)
        for g in range(committed, generations + 1)
        for stage in ORDER
        if g > 0 or stage is not Stage.TRAIN
    ]


@given(
    data=st.data(),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=12),
    generations=st.integers(1, 4),
    serial=st.booleans(),
    continuous=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_everything_is_done_once_and_in_order(
    data: st.DataObject, sizes: list[int], generations: int, serial: bool, continuous: bool
) -> None:
    cohorts = [[f"arm{c}{n}" for n in range(size)] for c, size in enumerate(sizes)]
    names = [name for cohort in cohorts for name in cohort]
    committed = {name: data.draw(st.integers(0, generations + 1)) for name in names}
    state, todo = begin(
        cohorts, committed, generations, serial=serial, continuous=continuous and not serial, streams=names[::2]
    )
    started = run_to_the_end(state, todo, data)
    assert len(started) == len(set(started))
    for name in names:
        own = [work for work in started if work.arm == name]
        # Training may begin while what it is on is being sampled; everything else keeps its order.
        assert sorted(own, key=by_order) == whole(name, committed[name], generations)
        assert [work for work in own if work.stage is not Stage.TRAIN] == [
            work for work in whole(name, committed[name], generations) if work.stage is not Stage.TRAIN
        ]
        for work in own:
            if work.stage is Stage.TRAIN and work.generation > committed[name]:
                assert own.index(work) > own.index(Work(name, work.generation - 1, Stage.SAMPLE))
            if work.stage is Stage.TRAIN:
                assert own.index(work) < own.index(replace(work, stage=Stage.SWAP))


def test_an_arm_that_is_alone_trains_while_it_samples() -> None:
    state, todo = begin(alone("a"), {}, 1, serial=False, streams=["a"])
    state, todo = step(state, Done(todo[0]))
    sample, train = Work("a", 0, Stage.SAMPLE), Work("a", 1, Stage.TRAIN)
    assert todo == [sample, train]
    state, todo = step(state, Done(sample))
    assert todo == []  # the trainer is at work
    state, todo = step(state, Done(train))
    assert todo == [Work("a", 0, Stage.MEASURE)]
    state, todo = step(state, Done(todo[0]))
    state, todo = step(state, Done(todo[0]))
    assert todo == [Work("a", 1, Stage.SWAP)]
    assert state.early == frozenset()


@pytest.mark.parametrize(("streams", "serial"), [([], False), (["a"], True)])
def test_nothing_trains_early_where_nothing_is_won(streams: list[str], serial: bool) -> None:
    state, todo = begin(alone("a"), {}, 1, serial=serial, streams=streams)
    state, todo = step(state, Done(todo[0]))
    assert todo == [Work("a", 0, Stage.SAMPLE)]


def test_the_trainer_waits_for_another_arm_rather_than_for_samples() -> None:
    state, todo = begin(alone("a", "b"), {}, 1, serial=False, streams=["a", "b"])
    state, todo = step(state, Done(todo[0]))
    assert [work.stage for work in todo] == [Stage.SAMPLE]


def test_serial_takes_turns_among_the_arms() -> None:
    state, todo = begin(alone("a", "b"), {}, 2, serial=True)
    order = []
    while state.running:
        order += [(work.arm, work.generation) for work in todo if work.stage is Stage.COMMIT]
        done = min(state.running, key=lambda work: work.stage is not Stage.COMMIT)
        state, todo = step(state, Done(done))
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_two_sides_work_at_once_on_different_arms() -> None:
    state, _ = begin(alone("a", "b"), {"a": 1, "b": 0}, 1, serial=False)
    both = False
    while state.running:
        sides = {side for work in state.running for side in SIDES[work.stage]}
        both |= sides == {Side.TRAINER, Side.SAMPLER} and len(state.running) == 2
        slowest = max(state.running, key=lambda work: (work.stage is Stage.TRAIN, work.arm))
        others = state.running - {slowest}
        state, _ = step(state, Done(next(iter(others or {slowest}))))
    assert both


def test_a_cohort_is_sampled_together() -> None:
    state, todo = begin([["a", "b"]], {}, 1, serial=True)
    batches = []
    while state.running:
        batches += [{work.arm for work in todo if work.stage is Stage.SAMPLE}]
        state, todo = step(state, Done(min(state.running, key=repr)))
    assert [batch for batch in batches if batch] == [{"a", "b"}] * 2


def test_of_a_cohort_that_was_interrupted_only_the_rest_is_made() -> None:
    state, todo = begin([["a", "b"]], {"a": 1}, 0, serial=True)
    assert todo == [Work("b", 0, Stage.SWAP)]
    state, todo = step(state, Done(todo[0]))
    assert todo == [Work("b", 0, Stage.SAMPLE)]


def test_in_a_continuous_batch_no_arm_waits_for_another() -> None:
    state, todo = begin(alone("a", "b"), {}, 0, serial=False, continuous=True)
    assert todo == [Work("a", 0, Stage.SWAP)]
    state, todo = step(state, Done(todo[0]))
    assert set(todo) == {Work("a", 0, Stage.SAMPLE), Work("b", 0, Stage.SWAP)}
    state, todo = step(state, Done(Work("b", 0, Stage.SWAP)))
    assert todo == [Work("b", 0, Stage.SAMPLE)]
    assert {work.stage for work in state.running} == {Stage.SAMPLE}


@pytest.mark.parametrize("serial", [True, False])
def test_a_cohort_that_is_begun_goes_before_another(serial: bool) -> None:
    """The order does not depend on earlier durations: a batch needs all of its models, and the sampler has room for few."""
    cohorts = [["a", "b"], ["c", "d"], ["e", "f"]]
    state, todo = begin(cohorts, dict.fromkeys("abcdef", 1), 1, serial=serial)
    seconds = dict(zip("abcdef", [6.0, 1.0, 5.0, 2.0, 4.0, 3.0], strict=True))
    sampling = {(arm, Stage.SAMPLE): 20.0 for arm in seconds}
    state = replace(state, seconds={(arm, Stage.TRAIN): taken for arm, taken in seconds.items()} | sampling)
    order = [work.arm for work in todo]
    while state.running:
        state, todo = step(state, Done(min(state.running, key=by_order)))
        check_sides(state)
        order += [work.arm for work in todo if work.stage is Stage.TRAIN]
    pairs = [set(order[place : place + 2]) for place in (0, 2, 4)]
    assert all(pair in [set(cohort) for cohort in cohorts] for pair in pairs), order


def test_a_continuous_batch_takes_no_more_models_than_there_is_room_for() -> None:
    state, todo = begin(
        alone(*map(str, range(50))), dict.fromkeys(map(str, range(50)), 0), 0, serial=False, continuous=True
    )
    sampling = [work for work in todo if work.stage is Stage.SAMPLE]
    while swaps := [work for work in state.running if work.stage is Stage.SWAP]:
        state, todo = step(state, Done(swaps[0]))
        check_sides(state)
        sampling += [work for work in todo if work.stage is Stage.SAMPLE]
    assert len(sampling) == MOST_HELD
    while state.running:
        state, todo = step(state, Done(max(state.running, key=by_order)))
        check_sides(state)
    assert state.finished


def test_johnsons_rule_orders_the_arms_of_a_generation() -> None:
    """Return the makespan of two machines under Johnson's rule (1954)."""
    times = {"a": (5.0, 2.0), "b": (1.0, 6.0), "c": (9.0, 7.0), "d": (3.0, 8.0), "e": (10.0, 4.0)}
    seconds = {
        (arm, stage): value
        for arm, pair in times.items()
        for stage, value in zip((Stage.SAMPLE, Stage.TRAIN), pair, strict=True)
    }
    state, _ = begin([], {}, 1, serial=False)
    state, todo = join(replace(state, seconds=seconds), alone(*times), {})
    order = []
    while state.running:
        order += [work.arm for work in todo if work.stage is Stage.SWAP]
        state, todo = step(state, Done(min(state.running, key=lambda w: w.stage is not Stage.SWAP)))
        state = replace(state, seconds=seconds)
        if len(order) == len(times):
            break
    assert order == ["b", "d", "c", "e", "a"]


def test_arms_that_another_machine_left_join() -> None:
    state, todo = begin(alone("a"), {}, 1, serial=True)
    state, more = join(state, [["b"]], {"b": 1})
    assert more == []  # one side at a time
    started = [*todo]
    while state.running:
        state, todo = step(state, Done(min(state.running, key=repr)))
        started += todo
    assert [work for work in started if work.arm == "b"] == whole("b", 1, 1)
    assert state.finished


def test_a_finished_run_has_nothing_to_do() -> None:
    state, todo = begin(alone("a"), {"a": 3}, 2, serial=True)
    assert (state.finished, todo) == (True, [])


def test_an_event_of_nothing_is_refused() -> None:
    state, _ = begin(alone("a"), {}, 1, serial=True)
    with pytest.raises(ValueError, match="is not running"):
        step(state, Done(Work("a", 1, Stage.SAMPLE)))


def lose_or_go_on(state: State, data: st.DataObject) -> tuple[State, list[Work], list[Work]]:
    """Apply a random event: a stage ends, a side dies, or one is up again. Also returns the finished works."""
    choices: list[object] = [*sorted(state.running, key=repr), *sorted(state.down, key=repr)]
    if not state.down:
        choices += [Side.SAMPLER, Side.TRAINER]
    chosen = data.draw(st.sampled_from(choices))
    if isinstance(chosen, Work):
        state, todo = step(state, Done(chosen, 1.0))
        return state, todo, [chosen]
    assert isinstance(chosen, Side)
    if chosen in state.down:
        state, todo = regain(state, frozenset({chosen}))
        return state, todo, []
    sides = dependents(state, frozenset({chosen}))
    state, gone, todo = lose(state, sides)
    assert all(SIDES[work.stage] & sides for work in gone)
    assert not any(SIDES[work.stage] & sides for work in (*state.running, *todo)), "work was given to a dead side"
    return state, todo, []


@given(
    data=st.data(),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    generations=st.integers(1, 3),
    serial=st.booleans(),
    continuous=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_dies_every_generation_is_committed_once(
    data: st.DataObject, sizes: list[int], generations: int, serial: bool, continuous: bool
) -> None:
    cohorts = [[f"arm{c}{n}" for n in range(size)] for c, size in enumerate(sizes)]
    names = [name for cohort in cohorts for name in cohort]
    state, _ = begin(cohorts, {}, generations, serial=serial, continuous=continuous and not serial, streams=names[::2])
    done: list[Work] = []
    for _ in range(data.draw(st.integers(0, 60))):
        if state.complete:
            break
        state, _, ended = lose_or_go_on(state, data)
        done += ended
        check_sides(state)
    state, _ = regain(state, frozenset(Side))
    while state.running:
        work = data.draw(st.sampled_from(sorted(state.running, key=repr)))
        state, _ = step(state, Done(work, 1.0))
        done.append(work)
        check_sides(state)
    assert state.complete, f"stuck with {state.waiting}"
    for name in names:
        commits = [work.generation for work in done if work.arm == name and work.stage is Stage.COMMIT]
        assert commits == list(range(generations + 1))
        for before, after in pairwise(ORDER[1:]):
            for generation in range(generations + 1):
                first, then = Work(name, generation, before), Work(name, generation, after)
                last = len(done) - 1 - done[::-1].index(then)
                assert first in done[:last], f"{then} without {first}"


def test_with_the_sampler_goes_what_it_held() -> None:
    state, todo = begin([["a", "b"], ["c"]], {"a": 1, "b": 1, "c": 0}, 1, serial=False)
    state = replace(
        state,
        waiting=(Work("a", 1, Stage.SAMPLE), Work("b", 1, Stage.SWAP)),
        running=frozenset({Work("c", 0, Stage.SAMPLE)}),
    )
    state, gone, todo = lose(state, frozenset({Side.SAMPLER}))
    assert gone == [Work("c", 0, Stage.SAMPLE)]
    assert todo == []
    assert set(state.waiting) == {Work("a", 1, Stage.SWAP), Work("b", 1, Stage.SWAP), Work("c", 0, Stage.SWAP)}
    state, todo = regain(state, frozenset({Side.SAMPLER}))
    assert [work.stage for work in todo] == [Stage.SWAP]


def test_the_other_side_works_on_while_one_is_started_again() -> None:
    train, sample = Work("a", 1, Stage.TRAIN), Work("b", 1, Stage.SAMPLE)
    state, _ = begin(alone("a", "b"), {"a": 1, "b": 1}, 2, serial=False)
    state = replace(state, waiting=(), running=frozenset({train, sample}))
    state, gone, todo = lose(state, frozenset({Side.TRAINER}))
    assert (gone, todo, state.running) == ([train], [], frozenset({sample}))
    state, todo = step(state, Done(sample))
    assert todo == []  # measuring needs the trainer
    state, todo = regain(state, frozenset({Side.TRAINER}))
    assert todo == [Work("b", 1, Stage.MEASURE)]


def test_where_sides_take_turns_nothing_starts_beside_a_side_that_loads() -> None:
    state, _ = begin(alone("a", "b"), {"a": 1, "b": 1}, 1, serial=True)
    state = replace(state, waiting=(Work("b", 1, Stage.SAMPLE),), running=frozenset({Work("a", 1, Stage.TRAIN)}))
    state, _, todo = lose(state, frozenset({Side.TRAINER}))
    assert todo == []


def test_training_that_began_early_goes_with_its_corpus() -> None:
    sample, train = Work("a", 0, Stage.SAMPLE), Work("a", 1, Stage.TRAIN)
    state, todo = begin(alone("a"), {}, 1, serial=False, streams=["a"])
    state, todo = step(state, Done(todo[0]))
    assert set(todo) == {sample, train}
    assert dependents(state, frozenset({Side.SAMPLER})) == frozenset(Side)
    assert dependents(state, frozenset({Side.TRAINER})) == {Side.TRAINER}
    lost, gone, _ = lose(state, frozenset(Side))
    assert set(gone) == {sample, train}
    assert (lost.waiting, lost.early) == ((Work("a", 0, Stage.SWAP),), frozenset())
    # Training that has ended already was on samples that nobody has now.
    ended, _ = step(state, Done(train))
    lost, _, _ = lose(ended, frozenset({Side.SAMPLER}))
    assert lost.early == frozenset()


def test_a_commit_that_was_not_reached_is_done_again() -> None:
    commit, train = Work("a", 1, Stage.COMMIT), Work("b", 1, Stage.TRAIN)
    state, _ = begin(alone("a", "b"), {"a": 1, "b": 1}, 1, serial=False)
    state = replace(state, waiting=(), running=frozenset({commit, train}))
    state, gone, todo = lose(state, frozenset({Side.TRAINER}), unstarted=[commit, train])
    assert set(gone) == {commit, train}
    assert todo == [commit]
    assert state.waiting == (train,)


@given(data=st.data(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), serial=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_run_that_drains_begins_nothing_and_ends(data: st.DataObject, sizes: list[int], serial: bool) -> None:
    cohorts = [[f"arm{c}{n}" for n in range(size)] for c, size in enumerate(sizes)]
    state, todo = begin(cohorts, {}, 3, serial=serial)
    for _ in range(data.draw(st.integers(0, 30))):
        if state.running:
            state, todo = step(state, Done(data.draw(st.sampled_from(sorted(state.running, key=repr)))))
    begun = {(work.arm, work.generation) for work in state.running}
    begun |= {
        (work.arm, work.generation) for work in state.waiting if work.generation and work.stage is not Stage.TRAIN
    }
    begun |= {(work.arm, 0) for work in state.waiting if work.generation == 0 and work.stage is not Stage.SWAP}
    state = drain(state)
    while not state.finished:
        state, todo = step(state, Done(data.draw(st.sampled_from(sorted(state.running, key=repr)))))
        check_sides(state)
        assert {(work.arm, work.generation) for work in todo} <= begun
    assert not state.running


def arms(count: int, samples: int, concurrency: int = 256) -> list[Arm]:
    recipe = Recipe.model_validate({"name": "x", "sample": {"count": samples, "concurrency": concurrency}})
    return [Arm(f"arm{number}", recipe, {}, control=False) for number in range(count)]


def test_cohorts_fill_the_sampler_and_no_more() -> None:
    assert cohorts_of([]) == ()
    assert [len(one) for one in cohorts_of(arms(9, 64))] == [4, 4, 1]
    assert [len(one) for one in cohorts_of(arms(3, 200))] == [1, 1, 1]
    assert [len(one) for one in cohorts_of(arms(2, 5000))] == [1, 1]
    assert [len(one) for one in cohorts_of(arms(40, 1))] == [MOST_MIXED, MOST_MIXED, 40 - 2 * MOST_MIXED]


def test_a_batch_is_continuous_where_nothing_is_lost_by_it() -> None:
    def recipe(devices: str, batching: str) -> Recipe:
        return Recipe.model_validate({"name": "x", "devices": devices, "sample": {"batching": batching}})

    assert is_continuous(recipe("disjoint", "auto"), "cuda")
    assert not is_continuous(recipe("disjoint", "auto"), "cpu")
    assert not is_continuous(recipe("disjoint", "fixed"), "cuda")
    assert is_continuous(recipe("disjoint", "continuous"), "cpu")
    assert not is_continuous(recipe("serial", "continuous"), "cuda")
