"""Time left in a run, estimated from measurements of the same run.

    left = max( work left / concurrency, work left of the longest arm )

Work left is the mean duration of each stage to come, plus the rest of the running ones. Concurrency is stage-seconds
per second of wall clock since the first stage. It is about 1 on serial devices, higher if arms overlap, and below 1 if
time passes between stages. The estimate is None until train, sample and measure have each been measured.
"""

from __future__ import annotations

from autophage.live.reducer import STAGES, ArmState, BaseTraining, RunState, StageProgress

PROVISIONAL = 0.1
"""Share of a running stage from which its own speed estimates a duration that was not measured yet."""

BRIEF = frozenset({"swap", "commit"})
"""Stages that are estimated at 0 seconds before they are measured."""


def time_left(state: RunState, now: float) -> float | None:
    """Estimate the seconds from time `now` to the end of a run.

    A finished run has 0 left. The result is None for a run that has stopped, or if too little was measured.
    """
    if state.outcome == "finished" or (state.total and state.committed >= state.total):
        return 0.0
    if state.outcome or not state.arms or state.first_stage is None:
        return None
    typical = {name: _typical(state, name, now) for name in STAGES}
    lefts = [_arm_left(arm, state.generations, typical, now) for arm in state.arms.values()]
    known = [left for left in lefts if left is not None]
    if len(known) < len(lefts):
        return None
    unfinished = sum(arm.committed <= state.generations for arm in state.arms.values())
    return max(sum(known) / _concurrency(state, unfinished, now), *known)


def base_left(base: BaseTraining, now: float) -> float | None:
    """Estimate the seconds from time `now` to the end of the base model's training.

    Before the first progress the result is None.
    """
    elapsed = now - base.started
    return elapsed * (base.total - base.done) / base.done if base.done and elapsed > 0 else None


def _typical(state: RunState, name: str, now: float) -> float | None:
    if durations := state.durations.get(name):
        return sum(durations) / len(durations)
    running = [arm.running[key] for arm in state.arms.values() for key in arm.running if key[1] == name]
    estimates = [
        (now - stage.started) * stage.total / stage.done
        for stage in running
        if stage.total and stage.done >= PROVISIONAL * stage.total
    ]
    if estimates:
        return sum(estimates) / len(estimates)
    return 0.0 if name in BRIEF else None


def _arm_left(arm: ArmState, generations: int, typical: dict[str, float | None], now: float) -> float | None:
    left = 0.0
    for generation in range(arm.committed, generations + 1):
        for name in STAGES:
            if (generation, name) in arm.ended or (name == "train" and generation == 0):
                continue
            stage = arm.running.get((generation, name))
            seconds = typical[name] if stage is None else _stage_left(stage, typical[name], now)
            if seconds is None:
                return None
            left += seconds
    return left


def _stage_left(stage: StageProgress, typical: float | None, now: float) -> float | None:
    elapsed = max(0.0, now - stage.started)
    if stage.total and stage.done >= PROVISIONAL * stage.total:
        return elapsed * (stage.total - stage.done) / stage.done
    return None if typical is None else max(0.0, typical - elapsed)


def _concurrency(state: RunState, unfinished: int, now: float) -> float:
    wall = now - state.first_stage if state.first_stage is not None else 0.0
    running = sum(max(0.0, now - stage.started) for arm in state.arms.values() for stage in arm.running.values())
    busy = state.stage_seconds + running
    if wall <= 0.0 or busy <= 0.0:
        return 1.0
    return min(busy / wall, max(1, unfinished))
