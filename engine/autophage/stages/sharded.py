"""The stages of a generation on a model that is spread over several GPUs: `stages.Workbench`, made and called on every rank.

What needs the model is called on all ranks; what only reads rank 0's own things is not. Answers are rank 0's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autophage.data.mix import AnySamples
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Request
from autophage.store.messages import Measured, Trained
from autophage.store.weights import Weights
from autophage.trainer.group import Group

if TYPE_CHECKING:
    from autophage.stages.workbench import Workbench
    from autophage.trainer.ranks import Ranks
    from autophage.trainer.resident import ResidentModel


class ShardedBench:
    """Has the surface of `Workbench`, over `ranks` ranks of one machine; `close` ends the other ranks.

    `gpus` are those of `trainer.group.keep_first_gpu`, none on a CPU; each other rank writes a log beside `log`, this process's.
    """

    def __init__(self, recipe: Recipe, model_path: str, ranks: int, gpus: Sequence[str], log: Path) -> None:
        self._group = Group(partial(_make, recipe.model_dump_json(), model_path, log.parent), ranks, gpus, log)
        self._own: Workbench = self._group.own

    @property
    def resident(self) -> ResidentModel:
        """Rank 0's, for its facts; what it computes takes every rank."""
        return self._own.resident

    @property
    def canary_prompts(self) -> list[list[int]]:
        return self._own.canary_prompts

    def base_weights(self, arm: Arm) -> Weights:
        weights: Weights = self._group.call("base_weights", arm)
        return weights

    def engine_settings(self, arms: Sequence[Arm]) -> EngineSettings:
        return self._own.engine_settings(arms)

    def requests(self, arm: Arm, generation: int) -> list[Request]:
        return self._own.requests(arm, generation)

    def decoding(self, arm: Arm) -> Decoding:
        return self._own.decoding(arm)

    def fit(
        self,
        arm: Arm,
        generation: int,
        start: Weights,
        corpora: Mapping[int, AnySamples],
        meter: Meter,
        optimizer: bytes | None = None,
    ) -> Trained:
        trained: Trained = self._group.call("fit", arm, generation, start, corpora, meter, optimizer)
        return trained

    def check_canary(self, weights: Weights, answers: Sequence[Completion]) -> float:
        worst: float = self._group.call("check_canary", weights, answers)
        return worst

    def measure(
        self,
        arm: Arm,
        generation: int,
        weights: Weights,
        previous: Weights | None,
        completions: Sequence[Completion],
        meter: Meter,
    ) -> Measured:
        measured: Measured = self._group.call("measure", arm, generation, weights, previous, completions, meter)
        return measured

    def notes(self) -> list[str]:
        return self._own.notes()

    def close(self) -> None:
        self._group.close()


def _make(recipe: str, model_path: str, logs: Path, ranks: Ranks) -> Workbench:
    """One rank's bench; the source is read by each, the model split over all. Each keeps its share of a bad batch to itself."""
    from autophage.data.build import read_source
    from autophage.stages.workbench import Workbench
    from autophage.trainer.sharded import ShardedModel

    loaded = Recipe.model_validate_json(recipe)
    inspection = logs / f"rank-{ranks.rank}" if ranks.rank else logs
    return Workbench(loaded, read_source(loaded), model_path, ShardedModel(model_path, loaded, ranks), inspection)
