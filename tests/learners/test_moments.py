"""Expected moments against closed forms and simulated chains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.learners.conftest import Load

from autophage.data.mix import synthetic_count
from autophage.learners.gaussian import Gaussian
from autophage.learners.loop import Chain, _training_rows
from autophage.learners.moments import log_drift, median_variance, moments
from autophage.metrics.intervals import mean_interval
from autophage.progress import Meter


@pytest.mark.parametrize("generation", [0, 1, 7, 100])
@pytest.mark.parametrize("count", [5, 100])
def test_replaced_samples_have_the_papers_closed_form(count: int, generation: int) -> None:
    expected = moments(count, count, generation, accumulate=False)
    assert expected.variance == pytest.approx(1.0)
    assert expected.about_origin == pytest.approx(1 + (generation + 1) / count)
    assert expected.w2 == pytest.approx(1.5 * (generation + 1) / count)


def test_accumulated_samples_wander_by_a_sum_of_inverse_squares() -> None:
    expected = moments(50, 50, 30, accumulate=True)
    inverse_squares = sum(1 / i**2 for i in range(1, 32))
    assert expected.w2 == pytest.approx(1.5 / 50 * inverse_squares)
    assert expected.mean_square == pytest.approx(inverse_squares / 50, rel=0.02)
    assert expected.variance < 1  # what the pool's own mean took with it


@pytest.mark.parametrize("generation", [0, 5])
def test_human_data_alone_are_one_fit_or_an_ever_larger_one(generation: int) -> None:
    assert moments(40, 0, generation, accumulate=False).mean_square == pytest.approx(1 / 40)
    grown = moments(40, 0, generation, accumulate=True)
    assert grown.mean_square == pytest.approx(1 / (40 * (generation + 1)))
    assert grown.variance == pytest.approx(1.0)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("pool", ["replace", "accumulate"])
def test_chains_agree_with_the_recursion_for_every_fraction(load: Load, pool: str, alpha: float) -> None:
    loaded = load(
        "gaussian", f"mix.pool={pool}", f"mix.alpha={alpha}", "learner.repetitions=20000", "control.enabled=false"
    )
    (arm,) = loaded.arms
    chain = Chain(arm, Gaussian(arm.recipe))
    for generation in range(4):
        state = chain.learner.fit(_training_rows(chain, generation), 0, None, Meter())
        chain.rows[generation] = chain.learner.draw(state, arm.recipe.sample.count, 100 + generation)
    synthetic = synthetic_count(arm.recipe, 0)
    expected = moments(arm.recipe.sample.count, synthetic, 3, accumulate=pool == "accumulate")
    for values, value in ((state["variance"], expected.variance), (state["mean"] ** 2, expected.mean_square)):
        low, high = mean_interval(values)
        middle, reach = (low + high) / 2, (high - low) / 2
        assert abs(middle - value) < 1.7 * reach, (middle, value, reach)  # 3.3 standard errors: one in a thousand


def test_the_median_of_one_fit_is_that_of_chi_squared() -> None:
    for count in (10, 100):
        draws = np.random.default_rng(1).chisquare(count - 1, 400_000) / (count - 1)
        assert median_variance(count, 1) == pytest.approx(np.median(draws), rel=4e-3)
    assert log_drift(10) == pytest.approx(np.log(np.random.default_rng(2).chisquare(9, 400_000) / 9).mean(), abs=3e-3)
    assert median_variance(100, 50) == pytest.approx(math.exp(50 * log_drift(100)), rel=0.01)
