"""State of a run as a pure function of its events: `state = fold(state, event)`.

The state holds all that a view may show: arms, running stages, measured durations, headline series, notes, the
outcome. It is immutable, so a drawing thread reads the latest state without a lock. Reading the same log again gives
the same state. Times come with the events. Unknown kinds of events are ignored, so an older reader can follow a newer
log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autophage.live.headline import LABELS

Event = Mapping[str, Any]
StageKey = tuple[int, str]

STAGES = ("train", "swap", "sample", "measure", "commit")
"""Stages of each generation of an arm, in order. Generation 0 is the untouched model and has no train stage."""

NOTES_KEPT = 3
DURATIONS_KEPT = 8
"""Latest durations of a stage that an estimate averages. They suffice to smooth, and follow a growing pool."""


@dataclass(frozen=True)
class StageProgress:
    """A running stage of one generation.

    `started` is in seconds since the epoch. `done` and `total` count samples or optimizer steps. `total` is 0 until the
    first progress.
    """

    generation: int
    name: str
    started: float
    done: int = 0
    total: int = 0
    tokens_per_second: float = 0.0


@dataclass(frozen=True)
class ArmState:
    """Progress of one arm.

    `committed` counts its committed generations. `running` and `ended` are the running and the finished stages of
    generations that are not committed. `series` maps a headline metric to (generation, value) pairs.
    """

    name: str
    control: bool = False
    committed: int = 0
    running: Mapping[StageKey, StageProgress] = field(default_factory=dict)
    ended: frozenset[StageKey] = frozenset()
    series: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)

    @property
    def stage(self) -> StageProgress | None:
        """The running stage that started first; None if no stage runs."""
        return min(self.running.values(), key=lambda stage: stage.started, default=None)


@dataclass(frozen=True)
class BaseTraining:
    """Training progress of the small base model, in tokens.

    `started` is in seconds since the epoch. `loss` is None if it is not known.
    """

    started: float
    done: int
    total: int
    loss: float | None


@dataclass(frozen=True)
class RunState:
    """State of a run for a view: name, arms, notes, times and outcome.

    `durations` maps a stage to its latest durations in seconds. `outcome` is empty during the run, then finished,
    interrupted or failed. `message` is the reason of an interruption or failure.
    """

    name: str = ""
    generations: int = 0
    devices: str = ""
    arms: Mapping[str, ArmState] = field(default_factory=dict)
    base: BaseTraining | None = None
    notes: tuple[str, ...] = ()
    durations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    attempts: int = 0
    resumed_at: int = 0
    started: float | None = None
    spent_before: float = 0.0
    first_stage: float | None = None
    stage_seconds: float = 0.0
    last: float = 0.0
    outcome: str = ""
    message: str = ""

    @property
    def committed(self) -> int:
        return sum(arm.committed for arm in self.arms.values())

    @property
    def total(self) -> int:
        """Number of generations that all arms together commit by the end."""
        return len(self.arms) * (self.generations + 1)

    @property
    def metrics(self) -> set[str]:
        return {metric for arm in self.arms.values() for metric in arm.series}

    def elapsed(self, now: float) -> float:
        """Return the seconds of work until time `now`, over all sessions of a run.

        Time between sessions is not counted. Before the start the result is 0.
        """
        if self.started is None:
            return 0.0
        return self.spent_before + max(0.0, (self.last if self.outcome else now) - self.started)


def fold(state: RunState, event: Event) -> RunState:
    """Return the state of a run after `event`, given the state before it.

    An event of an unknown kind changes the time alone.
    """
    time = float(event.get("time", state.last))
    handler = HANDLERS.get(str(event.get("kind", "")))
    return replace(state if handler is None else handler(state, event, time), last=max(state.last, time))


def fold_all(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Apply all `events` to `state`, an empty one by default, and return the resulting state. `state` is not changed."""
    state = RunState() if state is None else state
    for event in events:
        state = fold(state, event)
    return state


def _run_start(state: RunState, event: Event, time: float) -> RunState:
    """Apply the start or resumption of a run to its state.

    Generations in the run directory are committed. Unfinished work is gone.
    """
    committed: Mapping[str, int] = event.get("committed") or {}
    names = [str(name) for name in event.get("arms", [])]
    arms = {}
    for name in names:
        count = int(committed.get(name, 0))
        known = state.arms.get(name, ArmState(name))
        series = {
            metric: tuple(point for point in points if point[0] < count) for metric, points in known.series.items()
        }
        arms[name] = ArmState(
            name, name in event.get("controls", []), count, series={k: v for k, v in series.items() if v}
        )
    spent = 0.0 if state.started is None else max(0.0, state.last - state.started)
    return replace(
        state,
        name=str(event.get("name", "")),
        generations=int(event.get("generations", 0)),
        devices=str(event.get("devices", "")),
        arms=arms,
        base=None,
        notes=(),
        attempts=state.attempts + 1,
        resumed_at=sum(arm.committed for arm in arms.values()),
        started=time,
        spent_before=state.spent_before + spent,
        first_stage=None,
        stage_seconds=0.0,
        outcome="",
        message="",
    )


def _note(state: RunState, event: Event, time: float) -> RunState:
    return replace(state, notes=(*state.notes, str(event.get("text", "")))[-NOTES_KEPT:])


def _base_progress(state: RunState, event: Event, time: float) -> RunState:
    started = time if state.base is None else state.base.started
    base = BaseTraining(started, int(event.get("done", 0)), int(event.get("total", 0)), event.get("loss"))
    return replace(state, base=base)


def _stage_start(state: RunState, event: Event, time: float) -> RunState:
    arm, key = _place(state, event)
    running = {**arm.running, key: StageProgress(key[0], key[1], time)}
    first = time if state.first_stage is None else state.first_stage
    return _with_arm(replace(state, first_stage=first, base=None), replace(arm, running=running))


def _stage_progress(state: RunState, event: Event, time: float) -> RunState:
    arm, key = _place(state, event)
    before = arm.running.get(key, StageProgress(key[0], key[1], time))
    now = replace(
        before,
        done=int(event.get("done", 0)),
        total=int(event.get("total", 0)),
        tokens_per_second=float(event.get("tokens_per_second") or 0.0),
    )
    return _with_arm(state, replace(arm, running={**arm.running, key: now}))


def _stage_end(state: RunState, event: Event, time: float) -> RunState:
    arm, key = _place(state, event)
    seconds = max(0.0, float(event.get("seconds") or 0.0))
    running = {other: stage for other, stage in arm.running.items() if other != key}
    ended = arm.ended | {key} if key[0] >= arm.committed else arm.ended
    durations = {**state.durations, key[1]: (*state.durations.get(key[1], ()), seconds)[-DURATIONS_KEPT:]}
    state = replace(state, durations=durations, stage_seconds=state.stage_seconds + seconds)
    return _with_arm(state, replace(arm, running=running, ended=ended))


def _stage_lost(state: RunState, event: Event, time: float) -> RunState:
    """Remove a running stage whose actor died. The work is lost, and the stage will start again."""
    arm, key = _place(state, event)
    running = {other: stage for other, stage in arm.running.items() if other != key}
    return _with_arm(state, replace(arm, running=running))


def _commit(state: RunState, event: Event, time: float) -> RunState:
    arm, (generation, _) = _place(state, event)
    committed = max(arm.committed, generation + 1)
    series = dict(arm.series)
    for metric in LABELS:
        value = (event.get("metrics") or {}).get(metric)
        if value is not None:
            earlier = tuple(point for point in series.get(metric, ()) if point[0] < generation)
            series[metric] = (*earlier, (generation, float(value)))
    running = {key: stage for key, stage in arm.running.items() if key[0] >= committed}
    ended = frozenset(key for key in arm.ended if key[0] >= committed)
    return _with_arm(state, replace(arm, committed=committed, running=running, ended=ended, series=series))


def _ended(outcome: str, reason: str | None = None) -> Callable[[RunState, Event, float], RunState]:
    def handle(state: RunState, event: Event, time: float) -> RunState:
        arms = {name: replace(arm, running={}) for name, arm in state.arms.items()}
        return replace(
            state, arms=arms, base=None, outcome=outcome, message=str(event.get(reason, "")) if reason else ""
        )

    return handle


def _place(state: RunState, event: Event) -> tuple[ArmState, StageKey]:
    name = str(event.get("arm", ""))
    return state.arms.get(name, ArmState(name)), (int(event.get("generation", 0)), str(event.get("stage", "")))


def _with_arm(state: RunState, arm: ArmState) -> RunState:
    return replace(state, arms={**state.arms, arm.name: arm})


HANDLERS: dict[str, Callable[[RunState, Event, float], RunState]] = {
    "run-start": _run_start,
    "note": _note,
    "base-progress": _base_progress,
    "stage-start": _stage_start,
    "stage-progress": _stage_progress,
    "stage-end": _stage_end,
    "stage-lost": _stage_lost,
    "commit": _commit,
    "run-end": _ended("finished"),
    "interrupted": _ended("interrupted", "reason"),
    "failed": _ended("failed", "error"),
}
