"""Takes the results of a cell's stages into its partial generations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.early import EarlyDocuments
from autophage.cluster.models_in_store import copy_here
from autophage.cluster.partial import PartialGeneration, PartialGenerations
from autophage.cluster.scheduler import Stage, Work
from autophage.cluster.served_models import ServedModels
from autophage.cluster.watch import Running
from autophage.errors import SwapError
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


class StageResults:
    """Take the results of a cell's stages into its partial generations."""

    def __init__(
        self, actors: CellActors, partials: PartialGenerations, served: ServedModels, early: EarlyDocuments
    ) -> None:
        self._actors, self._partials = actors, partials
        self._served, self._early = served, early

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
        partial.speed[work.stage] = speed_of(work.stage, seconds, tokens)
        self._actors.deadlines.measured(work, seconds)
        return Finished(work, seconds, tokens, self._actors.of(side).notes(self._actors.deadlines.call))

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


def speed_of(stage: Stage, seconds: float, tokens: int) -> list[Metric]:
    """Return the `speed/*` metrics of a stage: its seconds, and its tokens per second if it has tokens."""
    metrics = [Metric(f"speed/{stage.value}_seconds", seconds)]
    if tokens:
        metrics.append(Metric(f"speed/{stage.value}_tokens_per_second", tokens / seconds))
    return metrics
