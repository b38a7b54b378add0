"""The slope that tells stale weights from rounding: its algebra, and its errors over many small steps of a tiny model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from tests.stages.rounded_models import SCALES, Swap, swaps

from autophage.stages.canary import TOLERANCES
from autophage.stages.staleness import Slope, slope

FORMER_TOLERANCE = 0.25
"""Nats at which the largest difference alone would be judged: it fails fresh weights and passes stale ones."""


def test_the_slope_of_exact_log_probs_is_exact() -> None:
    draws = np.random.default_rng(0)
    trained, other = -draws.gamma(2.0, size=64), -draws.gamma(2.0, size=64)
    for share in (0.0, 0.25, 1.0):
        found = slope(trained + share * (other - trained), trained, other)
        assert found is not None
        assert found.value == pytest.approx(share, abs=1e-12)
        assert found.error < 1e-12
        assert (found.fresh, found.stale) == (share < 0.5, share > 0.5)


def test_a_common_offset_moves_nothing() -> None:
    draws = np.random.default_rng(0)
    trained = -draws.gamma(2.0, size=64)
    found = slope(trained + 0.05, trained, trained + 0.02 + draws.normal(size=64) * 1e-3)
    assert found is not None
    assert found.value == pytest.approx(0.0, abs=1e-9)


def test_the_error_is_that_of_a_repeated_measurement() -> None:
    """Rounding is larger where the step is, as for tokens with large logits. HC3 must not understate it."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(400):
        step = draws.normal(size=128) * draws.gamma(1.0, size=128)
        found.append(slope(np.abs(step) * draws.normal(size=128), np.zeros(128), step))
    values, errors = np.array([one for one in found if one is not None]).T
    assert abs(values.mean()) < 3 * values.std() / 20
    assert 0.8 < (values / errors).std() < 1.2


def test_equal_weights_have_no_slope() -> None:
    trained = -np.ones(64)
    assert slope(trained - 0.1, trained, trained) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0, -1.0])
def test_what_is_beyond_doubt(value: float) -> None:
    assert Slope(value, 0.01).stale
    assert not Slope(value, 0.01).fresh


def test_what_is_in_doubt() -> None:
    for value in (-3.0, 0.0, 0.4, 0.6, 3.0):
        assert not Slope(value, 1.0).stale
        assert not Slope(value, 1.0).fresh
    assert Slope(0.0, 0.01).fresh
    assert Slope(0.0, float("nan")).stale


@dataclass
class Counts:
    """Verdicts on the swaps of one setting."""

    swaps: int = 0
    refused: int = 0
    """Fresh weights that were refused."""
    caught: int = 0
    """Stale weights that were refused."""
    taken: int = 0
    """Stale weights that were called fresh, beyond doubt."""
    formerly_refused: int = 0
    formerly_caught: int = 0

    def add(self, swap: Swap) -> None:
        fresh = slope(swap.fresh, swap.trained, swap.before)
        stale = slope(swap.stale, swap.trained, swap.before)
        assert fresh is not None
        assert stale is not None
        self.swaps += 1
        self.refused += fresh.stale or too_far(swap.fresh, swap.trained)
        self.caught += stale.stale or too_far(swap.stale, swap.trained)
        self.taken += stale.fresh
        self.formerly_refused += bool(np.abs(swap.fresh - swap.trained).max() > FORMER_TOLERANCE)
        self.formerly_caught += bool(np.abs(swap.stale - swap.trained).max() > FORMER_TOLERANCE)


def too_far(served: np.ndarray, trained: np.ndarray) -> bool:
    """Return True if a tolerance of bfloat16 is exceeded."""
    limit, off = TOLERANCES["bfloat16"], np.abs(served - trained)
    return bool(off.mean() > limit.mean or np.quantile(off, 0.9) > limit.p90 or off.max() > limit.largest)


def count(rate: float, steps: int, seeds: int) -> dict[tuple[int, bool], Counts]:
    """Return the verdicts by the logits' scale, and by True where the served logits are rounded to 16 bits."""
    counts = {(scale, rounded): Counts() for scale in SCALES for rounded in (False, True)}
    for seed in range(seeds):
        for swap in swaps(seed, rate, steps):
            counts[swap.scale, swap.rounded_head].add(swap)
    return counts


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("seeds", "rate", "steps"),
    [
        (2, 1e-5, 16),
        (2, 1e-3, 16),
        *(
            pytest.param(50, rate, steps, marks=[pytest.mark.long, pytest.mark.timeout(600)])
            for rate in (1e-5, 1e-4, 1e-3)
            for steps in (1, 16, 128)
        ),
    ],
)
def test_rounding_never_refuses_fresh_weights_nor_passes_stale_ones(seeds: int, rate: float, steps: int) -> None:
    counts = count(rate, steps, seeds)
    for (scale, rounded), found in counts.items():
        print(f"rate {rate:g} steps {steps} scale {scale} head {16 if rounded else 32} bits: {found}")
        assert found.swaps == seeds
        assert found.refused == 0, (scale, rounded)
        assert found.taken == 0, (scale, rounded)
        if rate * steps >= 1e-3 and not rounded:
            assert found.caught == seeds, (scale, rounded)


@pytest.mark.thorough
def test_the_largest_difference_alone_is_wrong_both_ways() -> None:
    """At logits about 64 in 16 bits it refuses fresh weights; at other scales it passes stale ones."""
    counts = count(1e-4, 16, 2)
    assert counts[64, True].formerly_refused == 2
    assert counts[4, False].formerly_caught == 0
