"""Measured speeds of a finished run: the work of its stages and their seconds, from its own events.

The first time of a stage in a session includes imports and compilation. It is kept apart, so that later plans count it
once. Knows run directories; does not know the formulas that the row corrects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from autophage.errors import UserError
from autophage.host.machine import GIB
from autophage.plan.machines import Machine, MeasuredBase, SpeedRow, here, named, recognised
from autophage.plan.shape import shape_of
from autophage.plan.tokens import Measuring, Sampling, Training, Workload, workload
from autophage.recipe import expand, read_resolved
from autophage.recipe.schema import Recipe
from autophage.store.rundir import RunDirectory, read_events

TimedStage = tuple[str, int, str]
"""Key of a timed stage: arm, generation, name of the stage."""


def row_of(run: RunDirectory, machine: Machine | None = None) -> SpeedRow:
    """Return the measured speeds of a finished run, as its mean generation.

    The first time of each stage is kept apart.

    Args:
        machine: Machine of the run; None takes it from the run's environment.

    Raises:
        UserError: Too few stages were timed, or the size of the model is unknown.
    """
    recipe = read_resolved(run.require().recipe)
    environment = run.read_environment()
    shape = shape_of(recipe)
    if shape is None:
        raise UserError(f"{run.root}: the size of its model is not known here ({recipe.model.path}).")
    parameters = (environment.get("model") or {}).get("parameters")
    if isinstance(parameters, int) and parameters > 0:
        shape = replace(shape, parameters=parameters)
    events = list(read_events(run.events))
    ends = [event for event in events if event.get("kind") == "stage-end"]
    firsts = _first_times(events)
    timed = {_key(event): event for event in ends if id(event) not in {id(one) for one in firsts.values()}}
    works = _works(recipe, timed)
    mean = _mean_work(works)
    seconds = {
        "train": _typical(timed, "train", [one.train.tokens for one in works["train"]]),
        "swap": _typical(timed, "swap"),
        "sample": _typical(timed, "sample", [one.sample.tokens for one in works["sample"]]),
        "measure": _typical(timed, "measure", [one.measure.read for one in works["measure"]]),
        "commit": _typical(timed, "commit"),
    }
    if not (seconds["train"] and seconds["sample"] and seconds["measure"]):
        raise UserError(
            f"{run.root}: too few stages were timed: calibration needs two trained generations, or two trained arms."
        )
    base, start = _start(recipe, events)
    return SpeedRow(
        machine=(machine or _machine_of(environment)).name,
        recipe=recipe.name,
        shape=shape,
        rank=recipe.model.rank,
        full=str(recipe.model.method) == "full",
        work=mean,
        seconds={stage: round(one, 4) for stage, one in seconds.items()},
        start=start,
        first={key: round(_extra(event, timed, key), 3) for key, event in firsts.items()},
        base=base,
    )


def _first_times(events: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the first `stage-end` event of each stage, by the stage's name."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("kind") == "stage-end" and event["stage"] not in found:
            found[event["stage"]] = event
    return found


def _extra(first: Mapping[str, Any], timed: Mapping[TimedStage, Mapping[str, Any]], stage: str) -> float:
    """Return the seconds by which the first time of a stage exceeds the median of its others.

    The result is at least 0, and 0 without others.
    """
    others = [float(event["seconds"]) for key, event in timed.items() if key[2] == stage]
    return max(0.0, float(first["seconds"]) - median(others)) if others else 0.0


def _typical(timed: Mapping[TimedStage, Mapping[str, Any]], stage: str, tokens: Sequence[float] = ()) -> float:
    """Return the seconds of a stage in the mean generation; 0 if it was never timed.

    The median is used, because a disturbed stage does not move it.

    Args:
        tokens: Tokens of each timed stage. If given, the median is of seconds per token.
    """
    seconds = [float(event["seconds"]) for key, event in timed.items() if key[2] == stage]
    if not seconds:
        return 0.0
    if not tokens:
        return median(seconds)
    return median(one / max(1.0, count) for one, count in zip(seconds, tokens, strict=True)) * _mean(tokens)


def _works(recipe: Recipe, timed: Mapping[TimedStage, Mapping[str, Any]]) -> dict[str, list[Workload]]:
    """Return the workloads of the timed generations, by stage.

    Sampled and trained tokens are those that the events counted, not those planned.
    """
    recipes = {arm.name: arm.recipe for arm in expand(recipe)}
    works: dict[str, list[Workload]] = defaultdict(list)
    for (arm, generation, stage), event in timed.items():
        planned, tokens = workload(recipes[arm], generation), float(event.get("tokens") or 0)
        if stage == "sample" and tokens:
            planned = replace(planned, sample=replace(planned.sample, tokens=tokens))
        if stage == "train" and tokens:
            scored = planned.train.scored * tokens / max(1.0, planned.train.tokens)
            planned = replace(planned, train=replace(planned.train, tokens=tokens, scored=scored))
        works[stage].append(planned)
    return works


def _mean_work(works: Mapping[str, Sequence[Workload]]) -> Workload:
    """Return the mean workload of the timed generations.

    Each part is averaged over the generations in which its stage was timed.
    """
    samples = [one.sample for one in works["sample"]]
    trains = [one.train for one in works["train"]]
    measures = [one.measure for one in works["measure"]]
    return Workload(
        Sampling(
            documents=round(_mean(one.documents for one in samples)),
            tokens=_mean(one.tokens for one in samples),
            prompt_tokens=_mean(one.prompt_tokens for one in samples),
            steps=round(_mean(one.steps for one in samples)),
            concurrency=round(_mean(one.concurrency for one in samples)),
        ),
        Measuring(
            tokens=_mean(one.tokens for one in measures),
            batches=round(_mean(one.batches for one in measures)),
            resampled=_mean(one.resampled for one in measures),
            pairs=round(_mean(one.pairs for one in measures)),
            trained=_mean(one.trained for one in measures),
            steps=round(_mean(one.steps for one in measures)),
        ),
        Training(
            tokens=_mean(one.tokens for one in trains),
            steps=round(_mean(one.steps for one in trains)),
            scored=_mean(one.scored for one in trains),
            batches=round(_mean(one.batches for one in trains)),
        ),
    )


def _start(recipe: Recipe, events: Sequence[Mapping[str, Any]]) -> tuple[MeasuredBase, float]:
    """Return the measured training of the base model, and the other seconds before the first stage.

    They count from the start of the run. If the base model was cached, or too short to be timed, its training is all 0.
    """
    begun = next((float(event["time"]) for event in events if event.get("kind") == "run-start"), 0.0)
    first = next((float(event["time"]) for event in events if event.get("kind") == "stage-start"), begun)
    seen = [(float(event["time"]), int(event["done"])) for event in events if event.get("kind") == "base-progress"]
    if not seen:
        return MeasuredBase(), round(first - begun, 2)
    base = recipe.base
    steps = max(1, base.tokens // (base.batch_size * base.length))
    (since, before), (until, after) = seen[0], seen[-1]
    if after <= before:  # too short to be timed: it counts as start
        return MeasuredBase(), round(first - begun, 2)
    tokens = steps * base.batch_size * base.length
    seconds = (until - since) * tokens / (after - before)
    return MeasuredBase(tokens, steps, round(seconds, 2)), round(max(0.0, first - begun - seconds), 2)


def _machine_of(environment: Mapping[str, Any]) -> Machine:
    """Return the machine that the environment of a run names; this machine if it names none."""
    device = (environment.get("model") or {}).get("device")
    if device == "cpu" and isinstance(environment.get("threads"), int):
        return named(f"cpu-{environment['threads']}")
    if isinstance(device, str) and device != "cpu":
        current = here()
        return current if current.kind == "gpu" else recognised(f"{device}, {current.memory_bytes / GIB:.0f} GiB")
    return here()


def _key(event: Mapping[str, Any]) -> TimedStage:
    return str(event["arm"]), int(event["generation"]), str(event["stage"])


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
