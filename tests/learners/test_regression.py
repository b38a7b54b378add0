"""Errors of least squares on its own labels, against theorems 1 and 2 of arXiv 2404.01413."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.learners.conftest import Load
from tests.present import present

from autophage.learners.loop import Chain, _training_rows
from autophage.learners.regression import Regression, expected_error
from autophage.progress import Meter
from autophage.store.manifest import Metric

ONE = 5 / (30 - 5 - 1)


def errors(load: Load, *overrides: str) -> list[list[Metric]]:
    """`learner/test_error` and `theory/test_error` of generations 0 to 8. There are 1,500 chains of 30 rows and 5 features."""
    settings = ("learner.repetitions=1500", "learner.dimensions=5", "sample.count=30", "control.enabled=false")
    (arm,) = load("regression", *settings, *overrides).arms
    chain = Chain(arm, Regression(arm.recipe))
    found = []
    for generation in range(9):
        state = chain.learner.fit(_training_rows(chain, generation), 0, None, Meter())
        chain.rows[generation] = chain.learner.draw(state, 30, 200 + generation)
        found.append(chain.learner.measure(generation, state, state, chain.rows[generation], 0))
    return found


@pytest.mark.parametrize("pool", ["replace", "accumulate"])
@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_chains_agree_with_the_closed_form(load: Load, pool: str, alpha: float) -> None:
    for measured, theory in errors(load, f"mix.pool={pool}", f"mix.alpha={alpha}", "learner.noise=0.5"):
        reach = (present(measured.high) - present(measured.low)) / 2
        assert abs(measured.value - theory.value) < 1.7 * reach


def test_replaced_data_add_the_same_error_in_every_generation(load: Load) -> None:
    found = [measured for measured, _ in errors(load, "mix.pool=replace")]
    for generation, measured in enumerate(found):
        reach = (present(measured.high) - present(measured.low)) / 2
        assert abs(measured.value - (generation + 1) * ONE) < 1.7 * reach
    assert present(found[8].low) > 6 * present(found[0].high)


def test_accumulated_data_stay_under_the_bound(load: Load) -> None:
    found = [measured for measured, _ in errors(load, "mix.pool=accumulate")]
    bound = math.pi**2 / 6 * ONE
    assert all(present(measured.low) < bound for measured in found)
    assert present(found[8].high) < bound
    assert present(found[8].low) > present(found[0].high)  # and yet it is not nothing


def test_the_closed_forms() -> None:
    assert expected_error(30, 5, 0, synthetic=True, accumulate=True) == pytest.approx(ONE)
    assert expected_error(30, 5, 6, synthetic=True, accumulate=False) == pytest.approx(7 * ONE)
    assert expected_error(30, 5, 6, synthetic=False, accumulate=False) == pytest.approx(ONE)
    assert expected_error(30, 5, 1, synthetic=False, accumulate=True) == pytest.approx(5 / (60 - 5 - 1))
    far = expected_error(30, 5, 10_000, synthetic=True, accumulate=True)
    inverse_squares = sum(1 / i**2 for i in range(1, 10_002))
    assert far < ONE * inverse_squares < ONE * math.pi**2 / 6


def test_a_fit_without_noise_finds_the_weights(load: Load) -> None:
    learner = Regression(load("regression", "learner.noise=1e-12").recipe)
    state = learner.fit(learner.human(4, 12), 0, None, Meter())
    np.testing.assert_allclose(state["weights"], np.full((4, 2), 2**-0.5), atol=1e-5)


@pytest.mark.parametrize("mix", ["mix.alpha=0.5", "mix.schedule=last-chance"])
def test_mixed_labels_have_no_closed_form(load: Load, mix: str) -> None:
    (measured,) = errors(load, mix)[3]
    assert measured.metric == "learner/test_error"
