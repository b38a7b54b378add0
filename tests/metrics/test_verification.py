"""The breakdown point and the closed form of a fit to verified labels, against limits and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import ndtr

from autophage.metrics.verification import breakdown_point, expected_accuracy, limits


def test_the_breakdown_point_is_where_right_and_wrong_labels_are_kept_alike() -> None:
    assert breakdown_point(1.0, 1.0) == 0.5
    assert breakdown_point(0.8, 0.2) == pytest.approx(0.8)
    assert breakdown_point(0.5, 0.0) == 1.0
    assert breakdown_point(0.0, 0.5) == 0.0
    star = breakdown_point(0.7, 0.3)
    assert (1 - star) * 0.7 == pytest.approx(star * 0.3)


@pytest.mark.parametrize(("keep_right", "keep_wrong"), [(1.0, 1.0), (0.8, 0.2), (0.3, 0.6)])
def test_with_many_rows_accuracy_is_a_step_at_the_breakdown_point(keep_right: float, keep_wrong: float) -> None:
    star, (best, worst) = breakdown_point(keep_right, keep_wrong), limits(1.5)
    for error, limit in ((star - 0.02, best), (star, 0.5), (star + 0.02, worst)):
        assert expected_accuracy(10**6, 10, 1.5, error, keep_right, keep_wrong) == pytest.approx(limit, abs=2e-3)


def test_the_curve_falls_with_the_error_and_is_a_mirror_about_one_half_without_a_verifier() -> None:
    curve = [expected_accuracy(60, 5, 1.0, error, 1.0, 1.0) for error in np.linspace(0, 1, 21)]
    assert all(later < earlier for earlier, later in itertools.pairwise(curve))
    np.testing.assert_allclose(np.add(curve, curve[::-1]), 1.0, atol=1e-9)


@pytest.mark.parametrize("dimensions", [1, 2, 12])
@pytest.mark.parametrize(("error", "keep_right", "keep_wrong"), [(0.3, 1.0, 1.0), (0.7, 0.9, 0.3), (0.9, 0.8, 0.25)])
def test_the_expectation_is_that_of_fits_by_chance(
    dimensions: int, error: float, keep_right: float, keep_wrong: float
) -> None:
    """20,000 fits to 80 rows, drawn from the law of the kept counts and their sum."""
    rng, chains, rows, separation = np.random.default_rng(5), 20_000, 80, 1.2
    shares = [keep_right * (1 - error), keep_wrong * error]
    right, wrong, _ = rng.multinomial(rows, [*shares, 1 - sum(shares)], size=chains).T
    mean = np.eye(dimensions)[0] * separation
    weights = (right - wrong)[:, None] * mean + np.sqrt(right + wrong)[:, None] * rng.standard_normal(
        (chains, dimensions)
    )
    found = ndtr(weights @ mean / np.linalg.norm(weights, axis=1))
    expected = expected_accuracy(rows, dimensions, separation, error, keep_right, keep_wrong)
    assert abs(found.mean() - expected) < 4 * found.std() / chains**0.5 + 1e-3


def test_nothing_kept_is_a_guess() -> None:
    assert expected_accuracy(50, 3, 1.0, 1.0, 1.0, 0.0) == 0.5
