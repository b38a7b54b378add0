"""The canary check: its prompts and tolerances on a stand-in for the resident model, and its refusals."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autophage.data.source import HeldOut
from autophage.errors import SwapError
from autophage.plan.tokens import CANARY_TOKENS
from autophage.sampler.protocol import Completion
from autophage.stages.canary import LONGEST_PROMPT, TOLERANCES, Canary
from autophage.store.weights import Weights

TOKENS = 16
NEW, OLD, OTHER = (Weights(name.encode(), {}, "full") for name in ("new", "old", "other"))
STEP = {"float32": 1e-4, "bfloat16": 0.02}
"""Root mean square (nats) by which the old weights' log-probs differ: less than every tolerance of its type."""
ROUNDING = {"float32": 1e-6, "bfloat16": 0.01}


class Resident:
    """A model whose log-probs under each weights are drawn once."""

    def __init__(self, dtype: str, step: float) -> None:
        self.recipe = SimpleNamespace(model=SimpleNamespace(dtype=dtype), sample=SimpleNamespace(beams=1))
        size = (TOLERANCES[dtype].canaries, TOKENS)
        draws = np.random.default_rng(0)
        new = -draws.gamma(2.0, 1.5, size)
        self.under = {one.digest: new + rms * draws.normal(size=size) for one, rms in ((OLD, step), (OTHER, 3.0))}
        self.under[NEW.digest] = new
        self.noise = draws.normal(size=size) * ROUNDING[dtype]

    def load(self, weights: Weights) -> None:
        self.loaded = weights

    def score(self, sequences: list[list[int]], contexts: list[int]) -> list[Any]:
        assert all(len(one) - context == TOKENS for one, context in zip(sequences, contexts, strict=True))
        return [SimpleNamespace(logprob=row) for row in self.under[self.loaded.digest]]

    def served(self, weights: Weights, *, off: float = 0.0) -> list[Completion]:
        """Return what a sampler with `weights` answers. The last log-prob is off by `off`."""
        values = self.under[weights.digest] + self.noise
        values[-1, -1] -= off
        return [Completion([5] * TOKENS, "length", logprobs=row.tolist()) for row in values]


def made(dtype: str, *, documents: int = 6, step: float | None = None) -> tuple[Canary, Resident]:
    resident: Any = Resident(dtype, STEP[dtype] if step is None else step)
    held = [HeldOut(list(range(8 + place)), []) for place in range(documents)]
    source: Any = SimpleNamespace(held_out=lambda: held)
    return Canary(resident, source), resident


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_prompts_are_first_halves_of_short_documents() -> None:
    canary, _ = made("float32")
    assert [len(prompt) for prompt in canary.prompts] == [4, 4, 5, 5]
    assert canary.longest == 5 + CANARY_TOKENS["float32"]


def test_few_documents_serve_many_canaries() -> None:
    canary, _ = made("bfloat16")
    assert len(canary.prompts) == TOLERANCES["bfloat16"].canaries
    assert canary.prompts[0] == canary.prompts[6]


def test_a_long_prompt_keeps_its_first_token_and_its_end() -> None:
    documents = [HeldOut(list(range(400)), []), HeldOut(list(range(400)), [], context=300)]
    resident: Any = Resident("float32", 0.0)
    source: Any = SimpleNamespace(held_out=lambda: documents)
    half, context, *again = Canary(resident, source).prompts
    assert half == [0, *range(201 - LONGEST_PROMPT, 200)]
    assert context == [0, *range(301 - LONGEST_PROMPT, 300)]
    assert again == [half, context]


def test_the_trained_weights_pass(dtype: str) -> None:
    canary, resident = made(dtype)
    record = canary.check(NEW, resident.served(NEW), OLD)
    assert resident.loaded is NEW
    assert 0 < record.mean < record.p90 < record.nats < TOLERANCES[dtype].largest
    assert record.staleness == pytest.approx(0, abs=0.1)
    assert set(record.entries()) == {
        "canary_nats", "canary_mean_nats", "canary_p90_nats", "canary_staleness", "canary_staleness_error",
    }  # fmt: skip
    assert canary.notes() == []


def test_stale_weights_of_a_step_below_every_tolerance_do_not_pass(dtype: str) -> None:
    canary, resident = made(dtype)
    assert canary.check(NEW, resident.served(OLD)), "the differences alone cannot tell"
    with pytest.raises(SwapError, match=r"lie (0\.9|1\.0).* of the way to those of the generation before"):
        canary.check(NEW, resident.served(OLD), OLD)


def test_foreign_weights_do_not_pass(dtype: str) -> None:
    canary, resident = made(dtype)
    with pytest.raises(SwapError, match=r"differ by .* nats \(mean"):
        canary.check(NEW, resident.served(OTHER), OLD)


def test_a_single_wild_token_does_not_pass(dtype: str) -> None:
    canary, resident = made(dtype)
    with pytest.raises(SwapError, match="nats \\(largest"):
        canary.check(NEW, resident.served(NEW, off=2 * TOLERANCES[dtype].largest), OLD)


@pytest.mark.parametrize("previous", [None, OLD])
def test_a_nan_never_passes(dtype: str, previous: Weights | None) -> None:
    canary, resident = made(dtype)
    with pytest.raises(SwapError):
        canary.check(NEW, resident.served(NEW, off=float("nan")), previous)
    resident.under[NEW.digest][0, 0] = float("nan")
    with pytest.raises(SwapError):
        canary.check(NEW, resident.served(OTHER), previous)


def test_a_nan_under_the_weights_before_never_passes(dtype: str) -> None:
    canary, resident = made(dtype)
    resident.under[OLD.digest][0, 0] = float("nan")
    with pytest.raises(SwapError):
        canary.check(NEW, resident.served(NEW), OLD)


def test_a_step_that_rounding_hides_is_noted_once() -> None:
    canary, resident = made("bfloat16", step=1e-4)
    for _ in range(2):
        canary.check(NEW, resident.served(NEW), OLD)
    [note] = canary.notes()
    assert "by 0.0001 nats, which rounding hides" in note
    assert canary.notes() == []


def test_the_same_weights_again_have_no_staleness(dtype: str) -> None:
    canary, resident = made(dtype)
    assert canary.check(NEW, resident.served(NEW), NEW).staleness is None
    assert canary.check(NEW, resident.served(NEW)).staleness is None
    with suppress(SwapError):
        canary.check(NEW, resident.served(OTHER), NEW)
    assert canary.notes() == []
