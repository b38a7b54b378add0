"""Who works next: a pure state machine, `(state, event) -> (state, actions)`, without I/O, clocks or Ray.

Each arm walks through the stages of its generations: train, swap, sample, measure, commit. The trainer's side does
train and measure, the sampler's side swap and sample (swap needs both, because the trainer checks the canary). The
barrier is per (arm, generation); between arms there is none. `serial` lets one side work at a time; otherwise both do,
on different arms. The arm that is furthest behind goes first, so that arms stay comparable while a run is under way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Stage(Enum):
    TRAIN = "train"
    SWAP = "swap"
    SAMPLE = "sample"
    MEASURE = "measure"
    COMMIT = "commit"


class Side(Enum):
    TRAINER = "trainer"
    SAMPLER = "sampler"


SIDES: Mapping[Stage, frozenset[Side]] = {
    Stage.TRAIN: frozenset({Side.TRAINER}),
    Stage.SWAP: frozenset({Side.TRAINER, Side.SAMPLER}),
    Stage.SAMPLE: frozenset({Side.SAMPLER}),
    Stage.MEASURE: frozenset({Side.TRAINER}),
    Stage.COMMIT: frozenset(),
}
ORDER = (Stage.TRAIN, Stage.SWAP, Stage.SAMPLE, Stage.MEASURE, Stage.COMMIT)


@dataclass(frozen=True)
class Work:
    """One stage of one generation of one arm: what is to be done next, or is being done."""

    arm: str
    generation: int
    stage: Stage


@dataclass(frozen=True)
class Done:
    """The event that `work` is finished."""

    work: Work


@dataclass(frozen=True)
class State:
    """`waiting` holds the next work of each arm that has any; `running` what has been started and not finished."""

    generations: int
    serial: bool
    waiting: tuple[Work, ...]
    running: frozenset[Work] = frozenset()

    @property
    def finished(self) -> bool:
        return not self.waiting and not self.running


def begin(
    arms: Sequence[str], committed: Mapping[str, int], generations: int, *, serial: bool
) -> tuple[State, list[Work]]:
    """The state of a run whose arms have `committed[arm]` generations already (0 to `generations` + 1), and what to start."""
    waiting = tuple(_first(arm, committed.get(arm, 0)) for arm in arms if committed.get(arm, 0) <= generations)
    return _start(State(generations, serial, waiting))


def step(state: State, event: Done) -> tuple[State, list[Work]]:
    """The state after `event`, and the work to start now.

    Raises:
        ValueError: the event is of work that is not running.
    """
    if event.work not in state.running:
        raise ValueError(f"{event.work} is not running")
    following = _after(event.work, state.generations)
    waiting = state.waiting if following is None else (*state.waiting, following)
    return _start(replace(state, waiting=waiting, running=state.running - {event.work}))


def _first(arm: str, generation: int) -> Work:
    """Model 0 is the base model: it is not trained."""
    return Work(arm, generation, Stage.TRAIN if generation else Stage.SWAP)


def _after(work: Work, generations: int) -> Work | None:
    if work.stage is not Stage.COMMIT:
        return replace(work, stage=ORDER[ORDER.index(work.stage) + 1])
    return _first(work.arm, work.generation + 1) if work.generation < generations else None


def _start(state: State) -> tuple[State, list[Work]]:
    """Start whatever the free sides allow: later stages first, to finish what is begun, then the arm furthest behind."""
    started: list[Work] = []
    for work in sorted(state.waiting, key=lambda work: (-ORDER.index(work.stage), work.generation)):
        busy = {side for other in state.running for side in SIDES[other.stage]}
        needs = SIDES[work.stage]
        blocked = bool(busy) if state.serial else bool(busy & needs)
        if needs and blocked:
            continue
        state = replace(
            state, waiting=tuple(other for other in state.waiting if other != work), running=state.running | {work}
        )
        started.append(work)
    return state, started
