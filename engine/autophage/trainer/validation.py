"""The choice of an epoch after training: the weights of the epoch with the least loss on held-out human text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.data.source import HeldOut
from autophage.store.weights import Weights
from autophage.trainer.resident import ResidentModel


class BestEpoch:
    """Score the live model on held-out documents after every epoch, and keep the weights with the least loss.

    The loss is the mean negative log-prob (nats) of a token.
    """

    def __init__(self, resident: ResidentModel, documents: Sequence[HeldOut], rows: int, batch_size: int) -> None:
        """Judge epochs of `rows` training rows by human `documents` that are neither trained on nor measured."""
        self._resident = resident
        self._sequences = [one.token_ids for one in documents]
        self._contexts = [one.context for one in documents]
        self._rows, self._batch = rows, batch_size
        self._least = np.inf
        self.weights: Weights | None = None
        """Weights of the best epoch so far; None before the first."""

    def step_ended(self, step: int, steps: int) -> None:
        """Score the model if an epoch, or the training, ends with optimizer step `step` of `steps`."""
        epochs_before, epochs_now = ((done * self._batch) // self._rows for done in (step - 1, step))
        if epochs_now == epochs_before and step < steps:
            return
        model = self._resident.model
        model.eval()
        scored = self._resident.score(self._sequences, self._contexts)
        model.train()
        loss = -float(np.concatenate([one.logprob for one in scored]).mean(dtype=np.float64))
        if loss < self._least:
            self._least, self.weights = loss, self._resident.live.take()
