"""Takes the results of a cell's stages into its partial generations."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.early import EarlyDocuments
from autophage.cluster.models_in_store import copy_here
from autophage.cluster.partial import PartialGeneration, PartialGenerations
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.cluster.served_models import ServedModels
from autophage.cluster.watch import Running
from autophage.errors import SwapError
from autophage.plan.light import Light
from autophage.recipe.arms import Arm
from autophage.sampler.protocol import Completion
from autophage.store.canary import CanaryRecord
from autophage.store.fault_points import reach
from autophage.store.manifest import Metric
from autophage.store.messages import Measured, TrainingRecord

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class Finished:
    """A stage that has ended: its duration, and the tokens that it wrote or trained on."""

    work: Work
    seconds: float
    tokens: int
    notes: Sequence[str] = ()
    """Messages of its actor for the user."""
    of_light: float | None = None
    """Time of the model's bare matrix products over the stage's duration. None for a stage that has none."""


class StageResults:
    """Take the results of a cell's stages into its partial generations."""

    def __init__(
        self,
        actors: CellActors,
        arms: Mapping[str, Arm],
        partials: PartialGenerations,
        served: ServedModels,
        early: EarlyDocuments,
        light: Light | None = None,
    ) -> None:
        self._actors, self._arms, self._partials = actors, arms, partials
        self._served, self._early, self._light = served, early, light

    def take(self, running: Running, reference: ObjectRef[Any]) -> Finished:
        """Take the result of a stage that has ended. Return the stage's duration and tokens.

        Raises:
            AutophageError: The actor raised it.
            ActorLostError: The actor is gone.
        """
        work = running.work
        reach("finish", work)
        partial, side = self._partials.of(work), self._actors.side_at(work)
        try:
            result = self._actors.get(reference, side)
        except SwapError:
            self._served.roll_back(partial)
            raise
        reach("result", work)
        tokens = self._record(work, partial, result)
        seconds = time.monotonic() - running.started
        share = self._of_light(work, seconds, result)
        partial.speed[work.stage] = speed_of(work.stage, seconds, tokens, share)
        self._actors.deadlines.measured(work, seconds)
        return Finished(work, seconds, tokens, self._actors.of(side).notes(self._actors.deadlines.call), share)

    def _of_light(self, work: Work, seconds: float, result: object) -> float | None:
        """Return a stage's share of light. Models that were sampled in one call have the share of the call."""
        if self._light is None or seconds <= 0:
            return None
        if isinstance(result, TrainingRecord):
            trained = sum(step.tokens for step in result.steps)
            full = self._arms[work.arm].recipe.model.method == "full"
            return self._light.training(result.tokens, trained, full=full) / seconds
        if work.stage is Stage.SAMPLE:
            batch = self._actors.of(Side.SAMPLER).batch(work.key, self._actors.deadlines.call)
            return None if batch is None else self._light.sampling(batch) / seconds
        return None

    def _record(
        self,
        work: Work,
        partial: PartialGeneration,
        result: TrainingRecord | CanaryRecord | list[Completion] | Measured,
    ) -> int:
        """Record a stage's result and act on it. Return the stage's tokens; 0 unless it samples or trains."""
        match result:
            case TrainingRecord():
                partial.trained = result
                copy_here(partial, self._actors.deadlines.call)
                return result.tokens
            case Measured():  # before the lists: it is a tuple
                partial.measured = result
            case list():
                partial.completions = result
                self._early.complete(work, result)
                self._served.remove(work, partial)
                return sum(len(completion.token_ids) for completion in result)
            case _:
                partial.canary = result
                self._served.confirm(partial)
        return 0


def speed_of(stage: Stage, seconds: float, tokens: int, of_light: float | None = None) -> list[Metric]:
    """Return the `speed/*` metrics of a stage: its seconds, its tokens per second and its share of light, if it has them."""
    metrics = [Metric(f"speed/{stage.value}_seconds", seconds)]
    if tokens:
        metrics.append(Metric(f"speed/{stage.value}_tokens_per_second", tokens / seconds))
    if of_light is not None:
        metrics.append(Metric(f"speed/{stage.value}_of_light", of_light))
    return metrics
