"""Decides which stage starts next: a pure state machine, `(state, event) -> (state, actions)`, without I/O, clocks or Ray.

Each arm passes through the stages of its generations: train, swap, sample, measure, commit. The trainer's side does
train and measure, the sampler's side swap and sample. A swap needs both sides, because the trainer checks the canary.
The barrier is per (arm, generation). With `serial` one side works at a time. Otherwise both do, on different arms.

Arms whose samples do not fill the sampler share a batch. In a *fixed* batch the arms of a cohort are sampled together
or not at all. The recipe alone then decides what is in a batch, and with it every bit of a corpus on a CPU. In a
*continuous* batch each arm's requests join the queue as soon as its model is ready. No arm waits for another.

Of the stages that could start, these go first, in this order of criteria:

1. The later stage, to finish what is begun.
2. The arm that is furthest behind, so that arms stay comparable while a run is under way.
3. The cohort of which one model is ready: the sampler has room for the adapters of one batch under way and of the next.
4. Johnson's rule (1954), the shortest way of taking jobs through two machines in a row. Cohorts that sample for less time
   than they train go first, by rising sampling time, then the others, by falling training time.

A single arm leaves one side idle. If its samples come in several waves (`streams`), the next model's training begins
*early*. The corpus is then still being written. It takes the finished samples in the order in which training reads them
anyway.

A side can be lost with its process. Its running stages are queued again, and nothing that needs the side starts until
it is regained. A lost sampler loses its models, so these are swapped in again. A lost trainer loses nothing finished:
the driver holds the weights. A state that drains begins no further generation and finishes those in progress.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from autophage.recipe.batching import MOST_MIXED

MOST_HELD = 2 * MOST_MIXED
"""Models that the sampler holds in a continuous batch: those in its steps, and as many that join when these end."""


class Stage(Enum):
    """A stage of a generation, in the order in which they run."""

    TRAIN = "train"
    SWAP = "swap"
    SAMPLE = "sample"
    MEASURE = "measure"
    COMMIT = "commit"


class Side(Enum):
    """An actor of a cell."""

    TRAINER = "trainer"
    SAMPLER = "sampler"


SIDES: Mapping[Stage, frozenset[Side]] = {
    Stage.TRAIN: frozenset({Side.TRAINER}),
    Stage.SWAP: frozenset({Side.TRAINER, Side.SAMPLER}),
    Stage.SAMPLE: frozenset({Side.SAMPLER}),
    Stage.MEASURE: frozenset({Side.TRAINER}),
    Stage.COMMIT: frozenset(),
}
"""The sides that each stage needs."""
ORDER = (Stage.TRAIN, Stage.SWAP, Stage.SAMPLE, Stage.MEASURE, Stage.COMMIT)


@dataclass(frozen=True)
class Work:
    """One stage of one generation of one arm."""

    arm: str
    generation: int
    stage: Stage

    @property
    def key(self) -> str:
        """Name of the stage's (arm, generation), shared by all its stages."""
        return f"{self.arm}@{self.generation}"

    @property
    def previous(self) -> Work:
        """The same stage of the generation before."""
        return replace(self, generation=self.generation - 1)

    def __str__(self) -> str:
        return f"stage {self.stage.value} of {self.arm}, generation {self.generation}"


@dataclass(frozen=True)
class Done:
    """The event that `work` has ended, and the seconds it took."""

    work: Work
    seconds: float = 0.0


@dataclass(frozen=True)
class State:
    """Progress of every arm of a cell.

    `waiting` holds each arm's next work. `running` holds works that were started and have not ended.
    """

    generations: int
    serial: bool
    continuous: bool
    cohorts: tuple[tuple[str, ...], ...]
    waiting: tuple[Work, ...]
    running: frozenset[Work] = frozenset()
    seconds: Mapping[tuple[str, Stage], float] = field(default_factory=dict)
    """Duration of each arm's stage when it last ran."""
    streams: frozenset[str] = frozenset()
    """Arms whose samples come in several waves."""
    early: frozenset[Work] = frozenset()
    """Trainings that began before their corpus was committed, until their arm comes to them."""
    down: frozenset[Side] = frozenset()
    """Sides that are lost and not regained."""
    draining: bool = False

    @property
    def complete(self) -> bool:
        """True once every generation is committed."""
        return not self.running and not self.waiting

    @property
    def finished(self) -> bool:
        """True once no work is left. A state that drains leaves waiting works undone."""
        return not self.running and (self.draining or not self.waiting)


def begin(
    cohorts: Iterable[Sequence[str]],
    committed: Mapping[str, int],
    generations: int,
    *,
    serial: bool,
    continuous: bool = False,
    streams: Iterable[str] = (),
) -> tuple[State, list[Work]]:
    """Return the state of a new or resumed run, with the stages to start.

    Args:
        committed: Committed generations of each arm, 0 to `generations` + 1.
        streams: Arms whose samples come in several waves.
    """
    state = State(generations, serial, continuous, (), (), streams=frozenset() if serial else frozenset(streams))
    return join(state, cohorts, committed)


def join(state: State, cohorts: Iterable[Sequence[str]], committed: Mapping[str, int]) -> tuple[State, list[Work]]:
    """Add the arms of `cohorts`, as those of a machine that is gone. Return the state with the stages to start.

    `committed` has the number of committed generations of each arm.
    """
    added = tuple(tuple(cohort) for cohort in cohorts)
    waiting = [
        _first(arm, committed.get(arm, 0))
        for cohort in added
        for arm in cohort
        if committed.get(arm, 0) <= state.generations
    ]
    return _start(replace(state, cohorts=state.cohorts + added, waiting=(*state.waiting, *waiting)))


def step(state: State, event: Done) -> tuple[State, list[Work]]:
    """Record that a stage has ended. Return the state with the stages to start.

    Works of stage SAMPLE that start together are one batch.

    Raises:
        ValueError: The stage is not running.
    """
    work = event.work
    if work not in state.running:
        raise ValueError(f"{work} is not running")
    following = None if work in state.early else _after(work, state)
    waiting = state.waiting if following is None else (*state.waiting, following)
    seconds = {**state.seconds, (work.arm, work.stage): event.seconds}
    early = state.early if following is None else state.early - {replace(following, stage=Stage.TRAIN)}
    return _start(replace(state, waiting=waiting, running=state.running - {work}, seconds=seconds, early=early))


def dependents(state: State, sides: frozenset[Side]) -> frozenset[Side]:
    """Return the sides (sampler, trainer) to give up with the lost `sides`, these included.

    A training that began early waits for the lost sampler's samples.
    """
    early = Side.SAMPLER in sides and any(work in state.early for work in state.running)
    return frozenset(Side) if early else sides


def lose(state: State, sides: frozenset[Side], unstarted: Iterable[Work] = ()) -> tuple[State, list[Work], list[Work]]:
    """Record that the actors of `sides` are lost.

    Return the state, the running stages that came to nothing, and the stages to start.

    Args:
        unstarted: Stages that the state takes for running and that were never started, or that failed with another's
            loss.
    """
    gone = [work for work in state.running if SIDES[work.stage] & sides or work in unstarted]
    unserved = [work for work in state.waiting if work.stage is Stage.SAMPLE and Side.SAMPLER in sides]
    # A training that began early, also one that has ended, is repeated at its turn on the corpus committed by then.
    early = {work for work in state.early if work in gone or replace(work.previous, stage=Stage.SAMPLE) in gone}
    back = [_again(work) for work in (*gone, *unserved) if work not in early]
    state = replace(
        state,
        waiting=(*(work for work in state.waiting if work not in unserved), *back),
        running=state.running.difference(gone),
        early=state.early - early,
        down=state.down | sides,
    )
    state, todo = _start(state)
    return state, gone, todo


def regain(state: State, sides: frozenset[Side]) -> tuple[State, list[Work]]:
    """Record that the actors of `sides` are at work again. Return the state with the stages to start."""
    return _start(replace(state, down=state.down - sides))


def drain(state: State) -> State:
    """Return the state that begins no further generation."""
    return replace(state, draining=True)


def stages_left(work: Work) -> tuple[Stage, ...]:
    """Return the stages from this one to its generation's commit."""
    return ORDER[ORDER.index(work.stage) :]


def _again(work: Work) -> Work:
    """Return the stage that repeats one that came to nothing. A model must be in the sampler before it is sampled."""
    return replace(work, stage=Stage.SWAP) if work.stage is Stage.SAMPLE else work


def _begins(work: Work) -> bool:
    return work.stage is _first(work.arm, work.generation).stage


def _first(arm: str, generation: int) -> Work:
    """Return the first stage of a generation. Model 0 is the base model and is not trained."""
    return Work(arm, generation, Stage.TRAIN if generation else Stage.SWAP)


def _after(work: Work, state: State) -> Work | None:
    if work.stage is not Stage.COMMIT:
        return replace(work, stage=ORDER[ORDER.index(work.stage) + 1])
    if work.generation == state.generations:
        return None
    following = _first(work.arm, work.generation + 1)
    return replace(following, stage=Stage.SWAP) if following in state.early else following


def _start(state: State) -> tuple[State, list[Work]]:
    """Start every stage that the free sides allow, in the order of `_urgency`. Return the state with these stages."""
    started: list[Work] = []
    for work in sorted(state.waiting, key=lambda work: _urgency(state, work)):
        if work in state.running or _blocked(state, work):
            continue
        together = _batch(state, work)
        state = replace(
            state,
            waiting=tuple(other for other in state.waiting if other not in together),
            running=state.running.union(together),
        )
        started += together
    if (early := _early(state)) is not None:
        state = replace(state, running=state.running | {early}, early=state.early | {early})
        started.append(early)
    return state, started


def _early(state: State) -> Work | None:
    """Return the training that may begin on a corpus still being written; None if there is none.

    Its arm is alone and its samples come in several waves.
    """
    if state.waiting or len(state.running) != 1 or state.down or state.draining:
        return None
    [work] = state.running
    train = Work(work.arm, work.generation + 1, Stage.TRAIN)
    if work.stage is not Stage.SAMPLE or work.generation == state.generations or train in state.early:
        return None
    return train if work.arm in state.streams else None


def _urgency(state: State, work: Work) -> tuple[int, int, int, int, int, float, int]:
    """Return the sort key of a stage, of which the smallest starts first.

    The criteria are those of this module's docstring. Ties go by cohort.
    """
    members = _members(state, work)
    train = sum(state.seconds.get((arm, Stage.TRAIN), 0.0) for arm in members)
    sample = max(state.seconds.get((arm, Stage.SAMPLE), 0.0) for arm in members)
    johnson = (0, sample) if sample < train else (1, -train)
    begun = _begun(state, members, work.generation)
    place = next(place for place, cohort in enumerate(state.cohorts) if work.arm in cohort)
    return (-ORDER.index(work.stage), work.generation, *begun, *johnson, place)


def _members(state: State, work: Work) -> tuple[str, ...]:
    """Return the arms that `work` shares a batch with, its own included."""
    if state.continuous:
        return (work.arm,)
    return next(cohort for cohort in state.cohorts if work.arm in cohort)


def _begun(state: State, members: Sequence[str], generation: int) -> tuple[int, int]:
    """Count the models of one generation of the arms `members`, and return both counts negated.

    The first counts those in or on their way to the sampler, the second those trained or in training.
    """
    own = [
        (ORDER.index(work.stage), work in state.running)
        for work in (*state.waiting, *state.running)
        if work.arm in members and work.generation == generation
    ]
    swap, train = ORDER.index(Stage.SWAP), ORDER.index(Stage.TRAIN)
    installed = sum(stage > swap or (stage == swap and runs) for stage, runs in own)
    trained = sum(stage > train or runs for stage, runs in own)
    return -installed, -trained


def _blocked(state: State, work: Work) -> bool:
    needs = SIDES[work.stage]
    if not needs:
        return False
    if state.draining and _begins(work):
        return True
    others = [other for other in state.running if not (state.continuous and _shareable(other, work))]
    busy = {side for other in others for side in SIDES[other.stage]} | state.down
    if (busy if state.serial else busy & needs) or not _batch(state, work):
        return True
    return work.stage in (Stage.TRAIN, Stage.SWAP) and _is_premature(state, work)


def _is_premature(state: State, work: Work) -> bool:
    """Return True if the model that `work` prepares would only wait.

    It waits for an arm of its cohort, or for room in the sampler.
    """
    known = (*state.waiting, *state.running)
    if not state.continuous:
        return any(other.arm in _members(state, work) and other.generation < work.generation for other in known)
    held = [
        other
        for other in known
        if other.stage is Stage.SAMPLE or (other.stage is Stage.SWAP and other in state.running)
    ]
    return work.stage is Stage.SWAP and len(held) >= MOST_HELD


def _shareable(other: Work, work: Work) -> bool:
    """Return True if the sampler takes the stage `work` while the stage `other` is in its queue."""
    return other.stage is Stage.SAMPLE and work.stage in (Stage.SWAP, Stage.SAMPLE)


def _batch(state: State, work: Work) -> list[Work]:
    """Return the stages that start together with `work`, itself included; none while the cohort lacks an arm."""
    if work.stage is not Stage.SAMPLE or state.continuous:
        return [work]
    members = _members(state, work)
    ready = [other for arm in members for other in state.waiting if other == replace(work, arm=arm)]
    behind = [
        other
        for other in (*state.waiting, *state.running)
        if other.arm in members and other.generation <= work.generation and other not in ready
    ]
    return [] if behind else ready
