"""The canary: a check after each swap that the sampler serves the weights that were trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from autophage.data.source import Source
from autophage.errors import SwapError
from autophage.host.devices import element_type
from autophage.plan.tokens import CANARY_TOKENS
from autophage.sampler.protocol import Completion
from autophage.store.weights import Weights
from autophage.trainer.resident import ResidentModel

CANARIES = 4
CANARY_TOLERANCE = {"float32": 5e-4, "bfloat16": 0.25}
"""Largest accepted difference (nats) between the log-probs of sampler and trainer for a canary token.

Rounding alone gives 1e-5 in float32 and a few hundredths in bfloat16. Stale or partial weights give tenths to many.
"""


class Canary:
    """Compare the sampler's log-probs of sampled tokens with those of the resident model."""

    def __init__(self, resident: ResidentModel, source: Source) -> None:
        self._resident = resident
        self._source = source

    @cached_property
    def prompts(self) -> list[list[int]]:
        """First halves of held-out documents, as token ids.

        They are never trained on, so no model knows them by heart.
        """
        documents = self._source.held_out()[:CANARIES]
        return [document.token_ids[: max(document.context, len(document.token_ids) // 2)] for document in documents]

    @property
    def longest(self) -> int:
        """Number of tokens of the longest canary prompt with its answer."""
        return max(map(len, self.prompts)) + CANARY_TOKENS

    def check(self, weights: Weights, completions: Sequence[Completion]) -> float:
        """Return the largest difference (nats) between the sampler's log-probs and those of `weights`.

        It covers every token of the completions. `weights` are loaded.

        Args:
            completions: The sampler's completions of `prompts`.

        Raises:
            SwapError: the difference exceeds `CANARY_TOLERANCE`: the sampler serves other weights.
        """
        self._resident.load(weights)
        pairs = zip(self.prompts, completions, strict=True)
        sequences = [[*prompt, *completion.token_ids] for prompt, completion in pairs]
        scored = self._resident.score(sequences, [len(prompt) for prompt in self.prompts])
        # numpy's max keeps a NaN, Python's max may drop it.
        served = [np.array(completion.logprobs) for completion in completions]
        differences = [np.abs(one.logprob - logprobs) for one, logprobs in zip(scored, served, strict=True)]
        worst = float(np.concatenate(differences).max())
        dtype = str(element_type(self._resident.recipe.model.dtype)).removeprefix("torch.")
        tolerance = CANARY_TOLERANCE[dtype]
        if not worst <= tolerance:
            raise SwapError(
                f"the sampler does not serve the weights {weights.digest[:16]}: canary log-probs differ by {worst:.3g} nats "
                f"(at most {tolerance:g}). The swap was rolled back and nothing was committed."
            )
        return worst
