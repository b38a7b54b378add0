"""What a model would gain from one document: a few steps of gradient descent on it alone, and the fall of the loss on held text.

    w_0 = w,   w_k = w_{k-1} - rate * dL(document; w_{k-1}) / dw,   gain = L(held; w_0) - L(held; w_steps)

L is the mean cross-entropy in nats a token, behind each row's context; w is what of the model is trained, an adapter or all
weights. It is the inner loop of SEAL (arXiv 2506.10943), which takes AdamW on an adapter; plain descent carries nothing from step
to step, and at a small rate the gain is rate * steps * the inner product of the two gradients, as TracIn traces influence
(arXiv 2002.08484). Weights are put back bit by bit after each document, and no gradient is left on a parameter. The model
computes as it is scored, without dropout. Knows neither gates nor samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autophage.data.mix import TrainingRow
from autophage.trainer.scoring import batch_tokens, batches, scored_rows
from autophage.trainer.variants import Variant


class InnerLoop:
    """Tries documents on the live weights of `variant`, which are those that each document is tried on."""

    def __init__(self, variant: Variant, held: Sequence[TrainingRow], steps: int, rate: float) -> None:
        """`held` needs a token behind a context. The device holds the weights a second time, as long as this lives."""
        self._variant, self._held, self._steps, self._rate = variant, held, steps, rate
        self._start = {name: parameter.detach().clone() for name, parameter in variant.parameters.items()}
        self._before = self._held_loss()

    @property
    def passes(self) -> int:
        """Sequences that `gain` reads for one document."""
        return self._steps + len(self._held)

    def gain(self, row: TrainingRow) -> float:
        """Nats a token that the held text loses by the steps on `row`; not finite where these lead to nothing finite."""
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
        for batch in batches([len(row.token_ids) for row in self._held], batch_tokens(self._variant.head)):
            surprisal_T = self._surprisals([self._held[index] for index in batch])
            total += float(surprisal_T.double().sum())
            tokens += len(surprisal_T)
        return total / tokens

    def _surprisals(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """-log p of every token behind its row's context, [T]."""
        head = self._variant.head
        spans = [(row.context, len(row.token_ids)) for row in rows]
        rows_TX, target_T = scored_rows(head, [row.token_ids for row in rows], spans)
        logprob_T = head.stats(rows_TX, target_T, ("logprob",)).logprob
        assert logprob_T is not None
        return -logprob_T
