"""The gain from one document: a few gradient steps on it alone, and the fall of the loss of held-out text.

    w_0 = w,   w_k = w_{k-1} - rate * dL(document; w_{k-1}) / dw,   gain = L(held; w_0) - L(held; w_steps)

L is the mean cross-entropy in nats a token after each row's context. The w are the trained weights, an adapter or all.
This is the inner loop of SEAL (arXiv 2506.10943), which uses AdamW on an adapter. Plain descent carries no state from
step to step. At a small rate the gain is rate * steps * the inner product of the two gradients. TracIn traces this
influence (arXiv 2002.08484). The weights are restored bit by bit after each document, and no parameter keeps a
gradient. The model computes as in scoring, without dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autophage.data.mix import TrainingRow
from autophage.trainer.passes import batches, budget
from autophage.trainer.scoring import scored_rows
from autophage.trainer.variants import Variant


class InnerLoop:
    """Measure the gain of single documents: the fall of the held-out loss after a few gradient steps.

    Each document starts from the live weights of `variant`.
    """

    def __init__(self, variant: Variant, held: Sequence[TrainingRow], steps: int, rate: float) -> None:
        """Copy the live weights and score the held-out rows, of which one needs a token after its context.

        Each document gets `steps` steps at learning rate `rate`. The copy of the weights stays on the device.
        """
        self._variant, self._held, self._steps, self._rate = variant, held, steps, rate
        self._start = {name: parameter.detach().clone() for name, parameter in variant.parameters.items()}
        self._before = self._held_loss()

    @property
    def passes(self) -> int:
        """Number of sequences that `gain` reads for one document."""
        return self._steps + len(self._held)

    def gain(self, row: TrainingRow) -> float:
        """Return the fall of the mean held-out loss (nats a token) after gradient steps on `row` alone.

        The weights are restored. The fall is not finite if the steps diverge.
        """
        try:
            for _ in range(self._steps):
                self._step(row)
            return self._before - self._held_loss()
        finally:
            self._variant.put(self._start, rounded=False)

    def _step(self, row: TrainingRow) -> None:
        parameters = list(self._variant.parameters.values())
        gradients = torch.autograd.grad(self._surprisals([row]).mean(), parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=self._rate)

    @torch.no_grad()
    def _held_loss(self) -> float:
        total, tokens = 0.0, 0
        for batch in batches([len(row.token_ids) for row in self._held], budget(self._variant.head)):
            surprisal_T = self._surprisals([self._held[index] for index in batch])
            total += float(surprisal_T.double().sum())
            tokens += len(surprisal_T)
        return total / tokens

    def _surprisals(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return -log p (nats) of every token after its row's context, [T] over all rows."""
        head = self._variant.head
        spans = [(row.context, len(row.token_ids)) for row in rows]
        rows_TX, target_T = scored_rows(head, [row.token_ids for row in rows], spans)
        logprob_T = head.stats(rows_TX, target_T, ("logprob",)).logprob
        assert logprob_T is not None
        return -logprob_T
