"""The canary: a check after each swap that the sampler serves the weights that were trained.

Differences between the log-probs of sampler and trainer find wrong weights: their mean, 90th percentile and maximum. In 16
bits rounding is larger than a small step. There the slope of `stages.staleness` tells a step from rounding. Other weights are
those of the generation before, which a stale sampler would serve, and the base without an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from autophage.data.source import Source
from autophage.errors import SwapError
from autophage.host.devices import element_type
from autophage.plan.tokens import CANARY_TOKENS
from autophage.sampler.protocol import Completion
from autophage.stages.staleness import Slope, slope
from autophage.store.canary import CanaryRecord
from autophage.store.weights import Weights
from autophage.trainer.modes import without_adapters
from autophage.trainer.resident import ResidentModel

LONGEST_PROMPT = 12
"""Most tokens of a canary prompt: the start token and the end of a document's first half. Longer ones take time alone."""


class Tolerance(NamedTuple):
    """Number of canaries, and the largest accepted differences (nats) between sampler and trainer, for an element type."""

    canaries: int
    mean: float
    p90: float
    largest: float


FEWEST = 4
"""Number of canaries in float32."""
TOLERANCES = {"float32": Tolerance(FEWEST, 5e-4, 5e-4, 5e-4), "bfloat16": Tolerance(128, 0.15, 0.4, 2.0)}
"""Tolerances by element type.

Rounding alone gives 1e-5 in float32. In bfloat16 it gives a mean of some hundredths, and of 0.12 where the head's logits are
rounded too and lie about 64. A rare token may be off by more than a nat. Foreign or partial weights give a mean of tenths to
many nats. In 16 bits more canaries are needed, because the error of a slope falls with the root of the tokens.
"""


class Canary:
    """Compare the sampler's log-probs of sampled tokens with those of the resident model."""

    def __init__(self, resident: ResidentModel, source: Source) -> None:
        self._resident = resident
        self._source = source
        self.note = ""
        """Pending message for the user; the reader clears it."""
        self._noted = False

    @property
    def tolerance(self) -> Tolerance:
        """The tolerance of the served element type."""
        return TOLERANCES[self._dtype]

    @property
    def _dtype(self) -> str:
        return str(element_type(self._resident.recipe.model.dtype)).removeprefix("torch.")

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Ends of the first halves of held-out documents, as token ids. A context, as of a question, is kept to its end.

        The first token stays, because some models go astray without it. Documents repeat if there are few: each prompt
        has a seed of its own. They are never trained on, so no model knows them by heart.
        """
        # A beam search takes them one by one. It computes with the trainer's own code, so few are enough.
        count = self.tolerance.canaries if self._resident.recipe.sample.beams == 1 else FEWEST
        documents = self._source.held_out()[:count]
        halves = [one.token_ids[: max(one.context, len(one.token_ids) // 2)] for one in documents]
        prompts = [half[:1] + half[1:][-(LONGEST_PROMPT - 1) :] for half in halves]
        return [prompts[index % len(prompts)] for index in range(count)]

    @property
    def longest(self) -> int:
        """Number of tokens of the longest canary prompt with its answer."""
        return max(map(len, self.prompts)) + CANARY_TOKENS[self._dtype]

    def check(
        self, weights: Weights, completions: Sequence[Completion], previous: Weights | None = None
    ) -> CanaryRecord:
        """Compare the sampler's log-probs with those of `weights`, which are loaded then.

        Args:
            completions: The sampler's completions of `prompts`.
            previous: The weights that the arm served before.

        Raises:
            SwapError: The sampler serves other weights: a difference exceeds `TOLERANCES`, or the slope is stale.
        """
        pairs = zip(self.prompts, completions, strict=True)
        sequences = [[*prompt, *completion.token_ids] for prompt, completion in pairs]
        served_N = np.concatenate([np.array(completion.logprobs) for completion in completions])
        if previous is not None and previous.digest != weights.digest:
            self._resident.load(previous)
            before_N = self._logprobs(sequences)
        else:
            before_N = None
        self._resident.load(weights)
        trained_N = self._logprobs(sequences)
        record = self._compared(weights, np.abs(trained_N - served_N))
        if weights.method == "lora":
            with without_adapters(self._resident.model):
                self._require_fresh(weights, slope(served_N, trained_N, self._logprobs(sequences)), "of the base model")
        if before_N is None:
            return record
        found = slope(served_N, trained_N, before_N)
        self._require_fresh(weights, found, "of the generation before")
        if found is None or not found.fresh:
            self._note_too_small(trained_N, before_N)
        if found is None:
            return record
        return CanaryRecord(record.nats, record.mean, record.p90, found.value, found.error)

    def notes(self) -> list[str]:
        """Return the pending message for the user, once."""
        note, self.note = self.note, ""
        return [note] if note else []

    def _logprobs(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        scored = self._resident.score(sequences, [len(prompt) for prompt in self.prompts])
        found: np.ndarray = np.concatenate([one.logprob for one in scored]).astype(np.float64)
        return found

    def _compared(self, weights: Weights, difference_N: np.ndarray) -> CanaryRecord:
        record = CanaryRecord(
            float(difference_N.max()), float(difference_N.mean()), float(np.quantile(difference_N, 0.9))
        )
        limit = self.tolerance
        found = {"mean": record.mean, "90th percentile": record.p90, "largest": record.nats}
        limits = {"mean": limit.mean, "90th percentile": limit.p90, "largest": limit.largest}
        for name, value in found.items():
            if not value <= limits[name]:  # true of a NaN
                raise _refusal(weights, f"differ by {value:.3g} nats ({name}; at most {limits[name]:g})")
        return record

    def _require_fresh(self, weights: Weights, found: Slope | None, other: str) -> None:
        if found is not None and found.stale:
            words = f"lie {found.value:.2f} +- {found.error:.2g} of the way to those {other}"
            raise _refusal(weights, f"differ as if by other weights: they {words} (0 is right)")

    def _note_too_small(self, trained_N: np.ndarray, before_N: np.ndarray) -> None:
        if not self._noted:
            self._noted = True
            step = float(np.sqrt(np.mean((trained_N - before_N) ** 2)))
            self.note = (
                f"a generation's training moves the canary's log-probs by {step:.1g} nats, which rounding hides: from one "
                "generation to the next the check of a swap cannot tell new weights from those before"
            )


def _refusal(weights: Weights, how: str) -> SwapError:
    return SwapError(
        f"the sampler does not serve the weights {weights.digest[:16]}: canary log-probs {how}. "
        "The swap was rolled back and nothing was committed."
    )
