"""Claims of the paper about one Gaussian: total variance and distance grow, and every path loses its variance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.learners.conftest import Load

from autophage.learners.gaussian import Gaussian
from autophage.learners.moments import log_drift, median_variance
from autophage.metrics.intervals import mean_interval
from autophage.progress import Meter

GENERATIONS = 10


@pytest.fixture
def chains(load: Load) -> list[dict[str, Any]]:
    """Return the metrics of generations 0 to `GENERATIONS` for 4,000 chains of 100 numbers."""
    learner = Gaussian(load("gaussian", "learner.repetitions=4000", "sample.count=100").recipe)
    rows, found = learner.human(1, 100), []
    for generation in range(GENERATIONS + 1):
        state = learner.fit(rows, 0, None, Meter())
        rows = learner.draw(state, 100, 50 + generation)
        found.append({one.metric: one for one in learner.measure(generation, state, state, rows, 0)})
    return found


@pytest.mark.parametrize("metric", ["variance", "variance_about_origin", "w2", "variance_median"])
def test_every_metric_agrees_with_its_closed_form(chains: list[dict[str, Any]], metric: str) -> None:
    inside = []
    for found in chains:
        measured, expected = found[f"learner/{metric}"], found[f"theory/{metric}"]
        reach = (measured.high - measured.low) / 2
        # W2 is known to first order in 1/M only: its next term is some percent of it.
        slack = 0.03 * expected.value if metric == "w2" else 0.0
        assert abs(measured.value - expected.value) < 1.7 * reach + slack
        inside.append(measured.low - slack <= expected.value <= measured.high + slack)
    assert sum(inside) >= 0.6 * len(inside)  # generations of one chain depend on one another


def test_the_closed_forms_are_the_papers(chains: list[dict[str, Any]]) -> None:
    assert chains[9]["theory/variance_about_origin"].value == pytest.approx(1.1)  # n = 10 fits of M = 100
    assert chains[10]["theory/w2"].value == pytest.approx(0.165)
    assert chains[9]["theory/variance"].value == pytest.approx(1.0)
    assert chains[9]["theory/variance_median"].value == pytest.approx(median_variance(100, 10))


def test_along_every_path_the_variance_vanishes_as_fast_as_theory_says(load: Load) -> None:
    """M = 10, 1,200 generations. v does not depend on m. m is reset to 0, where floats are most precise."""
    learner = Gaussian(load("gaussian", "learner.repetitions=200", "sample.count=10").recipe)
    rng = np.random.default_rng(3)
    logs = np.zeros((1200, 200))
    variance = np.ones(200)
    for generation in range(1200):
        rows = list(np.sqrt(variance) * rng.standard_normal((10, 200)))
        after = learner.fit(rows, 0, None, Meter())["variance"]
        logs[generation] = np.log(after / variance)
        variance = after
    assert (variance < 1e-30).all()
    low, high = mean_interval(logs.sum(axis=0))
    assert low < 1200 * log_drift(10) < high
    assert np.log(np.median(variance)) == pytest.approx(np.log(median_variance(10, 1200)), abs=5)


def test_a_variance_that_is_gone_is_a_result(load: Load) -> None:
    learner = Gaussian(load("gaussian").recipe)
    state = learner.fit([np.full(4, 2.0, np.float32)] * 3, 0, None, Meter())
    rows = learner.draw(state, 5, 1)
    assert np.stack(rows).tolist() == [[2.0] * 4] * 5
    found = {one.metric: one.value for one in learner.measure(5, state, state, rows, 0)}
    assert found["learner/variance_median"] == 0.0
    assert found["learner/w2"] == 5.0


def test_there_is_no_closed_form_where_rows_come_twice_chains_share_them_or_the_mix_changes(load: Load) -> None:
    for overrides, known in (
        (("mix.human=fixed",), True),  # none is used
        (("mix.human=fixed", "mix.alpha=0.5"), False),
        (("mix.human=fixed", "mix.alpha=0.0", "control.enabled=false"), True),
        (("mix.human=fixed", "mix.alpha=0.0", "mix.pool=accumulate", "control.enabled=false"), False),
        (("mix.alpha=0.5",), True),
        (("mix.pool=accumulate-subsample",), False),
        (("mix.schedule=last-chance",), False),
    ):
        learner = Gaussian(load("gaussian", *overrides).recipe)
        rows = learner.human(1, 12)
        state = learner.fit(rows, 0, None, Meter())
        names = {one.metric for one in learner.measure(3, state, state, rows, 0)}
        assert ("theory/variance" in names) is known, overrides
