"""The models that a cell's sampler holds: installed at a swap, removed after sampling, rolled back after a failure.

A swap is a chain of calls between the two actors, without the driver: install, sample the canary, compare.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.models_in_store import ModelsInStore
from autophage.cluster.partial import Installation, PartialGeneration, ended
from autophage.cluster.scheduler import Side, Work
from autophage.errors import SwapError
from autophage.sampler.protocol import Served
from autophage.store.canary import CanaryRecord
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from ray import ObjectRef


class ServedModels:
    """The models that a cell's sampler holds."""

    def __init__(self, actors: CellActors, models: ModelsInStore, canary_prompts: list[list[int]]) -> None:
        self._actors, self._models, self._canary_prompts = actors, models, canary_prompts
        self._companions: dict[Work, list[Served]] = {}

    def swap(
        self, work: Work, partial: PartialGeneration, previous: ObjectRef[Weights] | None
    ) -> ObjectRef[CanaryRecord]:
        """Install a generation's model and start its canary check. Return the reference to the check's record.

        `previous` are the weights of the generation before, which a stale sampler would serve.
        """
        trainer, sampler = self._actors.trainer, self._actors.sampler
        if work.generation == 0:
            partial.weights = trainer.base_weights(work.arm)
        weights = ended(partial.weights)
        served = sampler.install(work.key, weights)
        # After the installation and before the check: the trainer is free until the canary's completions are there.
        partial.orders = trainer.orders(work.arm, work.generation)
        partial.installation = Installation(served, sampler.canary(served, self._canary_prompts))
        return trainer.check_canary(weights, partial.installation.canary, previous)

    def confirm(self, partial: PartialGeneration) -> None:
        """Record that the canary check of a generation's installed model has passed."""
        partial.served = self._actors.get(ended(partial.installation).served, Side.SAMPLER)

    def install_companion(self, arm: str, beside: Work) -> Served:
        """Install an arm's committed model that only fills the batch of `beside`. Return its handle."""
        key, weights = replace(beside, arm=arm).key, self._models.weights(arm, beside.generation)
        served = self._actors.get(self._actors.sampler.install(key, weights), Side.SAMPLER)
        self._companions.setdefault(beside, []).append(served)
        return served

    def remove(self, work: Work, partial: PartialGeneration) -> None:
        """Remove a generation's model whose samples are written, and the models that only filled its batch."""
        for served in [ended(partial.served), *self._companions.pop(work, [])]:
            self._actors.get(self._actors.sampler.remove(served), Side.SAMPLER)
        partial.installation = None

    def abandon(self, work: Work, partial: PartialGeneration | None, *, sampler_lost: bool) -> None:
        """Remove the models that were installed for a lost stage. A lost sampler has no models left."""
        companions = self._companions.pop(work, [])
        if sampler_lost:
            return
        if partial is not None:
            self.roll_back(partial)
        for served in companions:
            self._actors.get(self._actors.sampler.remove(served), Side.SAMPLER)

    def roll_back(self, partial: PartialGeneration) -> None:
        """Remove a generation's model whose check failed. A model that the sampler refused is not there."""
        installation, partial.installation = partial.installation, None
        if installation is None:
            return
        try:
            served = self._actors.get(installation.served, Side.SAMPLER)
        except SwapError:
            return
        self._actors.get(self._actors.sampler.remove(served), Side.SAMPLER)
