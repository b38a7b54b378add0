"""The canary check on a stand-in for the resident model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autophage.data.source import HeldOut
from autophage.errors import SwapError
from autophage.plan.tokens import CANARY_TOKENS
from autophage.sampler.protocol import Completion
from autophage.stages.canary import CANARIES, CANARY_TOLERANCE, Canary
from autophage.store.weights import Weights

OWN = np.array([-1.0, -2.0], dtype=np.float32)


class Resident:
    """A model that finds the same log-probs in every sequence."""

    recipe = SimpleNamespace(model=SimpleNamespace(dtype="float32"))

    def load(self, weights: Weights) -> None:
        self.loaded = weights

    def score(self, sequences: list[list[int]], contexts: list[int]) -> list[Any]:
        assert [len(one) - context for one, context in zip(sequences, contexts, strict=True)] == [2] * CANARIES
        return [SimpleNamespace(logprob=OWN) for _ in sequences]


@pytest.fixture
def canary() -> Canary:
    documents = [HeldOut(list(range(8 + place)), []) for place in range(CANARIES + 2)]
    resident: Any = Resident()
    source: Any = SimpleNamespace(held_out=lambda: documents)
    return Canary(resident, source)


def answers(difference: float) -> list[Completion]:
    """Completions of all prompts. One log-prob of the last is off by `difference`."""
    right = [Completion([5, 6], "length", logprobs=OWN.tolist()) for _ in range(CANARIES - 1)]
    return [*right, Completion([5, 6], "length", logprobs=[-1.0, -2.0 - difference])]


def test_prompts_are_halves_of_held_out_documents(canary: Canary) -> None:
    assert [len(prompt) for prompt in canary.prompts] == [4, 4, 5, 5]
    assert canary.longest == 5 + CANARY_TOKENS


def test_rounding_passes(canary: Canary) -> None:
    assert canary.check(Weights(b"", {}), answers(1e-4)) == pytest.approx(1e-4, rel=1e-2)


@pytest.mark.parametrize("difference", [2 * CANARY_TOLERANCE["float32"], float("nan")])
def test_other_weights_do_not_pass(canary: Canary, difference: float) -> None:
    with pytest.raises(SwapError, match="does not serve the weights"):
        canary.check(Weights(b"", {}), answers(difference))
