"""Starts the stages of a cell on its actors, with what each needs of earlier generations.

The corpus of a committed generation is read back from its files, in a resumed run as in an uninterrupted one. Models are
passed by reference (`models_in_store`). Does not decide when a stage starts, and does not take its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.early import EarlyDocuments
from autophage.cluster.models_in_store import ModelsInStore
from autophage.cluster.partial import PartialGenerations, ended
from autophage.cluster.scheduler import Stage, Work
from autophage.cluster.served_models import ServedModels
from autophage.data.mix import needed_corpora
from autophage.recipe.arms import Arm
from autophage.sampler.protocol import Completion
from autophage.store.canary import CanaryRecord
from autophage.store.commit import committed_samples
from autophage.store.messages import Measured, TrainingRecord
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    from ray import ObjectRef


class Launcher:
    """Start the stages of a cell on its actors."""

    def __init__(
        self,
        actors: CellActors,
        run: RunDirectory,
        arms: Mapping[str, Arm],
        cohorts: Sequence[Sequence[str]],
        partials: PartialGenerations,
        models: ModelsInStore,
        served: ServedModels,
        early: EarlyDocuments,
    ) -> None:
        self._actors, self._run, self._arms, self._cohorts = actors, run, arms, cohorts
        self._partials, self._models, self._served, self._early = partials, models, served, early

    def launch(self, work: Work) -> ObjectRef[Any]:
        """Start one stage that is neither a sampling nor a commit. Return the reference to its result."""
        if work.stage is Stage.TRAIN:
            return self._train(work)
        if work.stage is Stage.SWAP:
            return self._swap(work)
        return self._measure(work)

    def sample(self, works: Sequence[Work]) -> list[ObjectRef[list[Completion]]]:
        """Start the sampling of one batch. Return a reference to each stage's documents.

        After a restart some arms of the cohort may be further. Their committed models are sampled again and the result
        is dropped: with another batch the last bits of the corpora would differ.
        """
        first = works[0]
        cohort = next((one for one in self._cohorts if first.arm in one), [work.arm for work in works])
        own = {work.arm: self._partials.of(work) for work in works}
        keys, served, orders = [], [], []
        for arm in cohort:
            keys.append(f"{arm}@{first.generation}")
            if arm in own:
                served.append(ended(own[arm].served))
                orders.append(ended(own[arm].orders))
            else:
                served.append(self._served.install_companion(arm, first))
                orders.append(self._actors.trainer.orders(arm, first.generation))
        references = self._actors.sampler.sample(keys, served, orders)
        return [references[keys.index(work.key)] for work in works]

    def _train(self, work: Work) -> ObjectRef[TrainingRecord]:
        """Start a training on the committed corpora, or early on one that is still being written."""
        arm, before = self._arms[work.arm].recipe, self._partials.find(work.previous)
        needed = needed_corpora(arm, work.generation)
        start = optimizer = None
        if before is not None:
            self._early.begin(work)
            needed = [generation for generation in needed if generation < work.generation - 1]
            start, optimizer = before.weights, before.optimizer
        elif arm.train.chain == "cumulative":
            start = self._models.weights(work.arm, work.generation - 1)
            if arm.train.optimizer == "carried":
                optimizer = self._models.optimizer(work.arm, work.generation - 1)
        if arm.train.chain != "cumulative":
            start = None
        corpora = {generation: committed_samples(self._run, work.arm, generation) for generation in needed}
        fit = self._actors.trainer.fit(work.arm, work.generation, start, corpora, optimizer, early=before is not None)
        partial = self._partials.of(work)
        partial.weights, partial.optimizer = fit.weights, fit.optimizer
        return fit.record

    def _swap(self, work: Work) -> ObjectRef[CanaryRecord]:
        """Start a swap. The canary compares with the model before too, which may not be committed yet."""
        before = self._partials.find(work.previous)
        previous = before.weights if before is not None else None
        if previous is None and work.generation:
            previous = self._models.weights(work.arm, work.generation - 1)
        return self._served.swap(work, self._partials.of(work), previous)

    def _measure(self, work: Work) -> ObjectRef[Measured]:
        partial = self._partials.of(work)
        # Only the metrics of drift compare with the model before.
        compares = work.generation > 0 and self._arms[work.arm].recipe.measure.drift
        previous = self._models.weights(work.arm, work.generation - 1) if compares else None
        return self._actors.trainer.measure(
            work.arm, work.generation, ended(partial.weights), previous, ended(partial.completions)
        )
