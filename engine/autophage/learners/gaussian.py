"""The single Gaussian of arXiv 2305.17493: fit mean and variance, draw M numbers, fit again.

Human data are N(0, 1) without loss of generality, because the fit moves and scales with its data. The
`learner.repetitions` chains of an arm are independent and computed together. A row holds one number per chain.
Metrics are taken over chains:

- `learner/variance`: mean of the fitted variance with denominator n - 1. Its expectation stays at 1.
- `learner/variance_median`: median of the fitted variance. It goes to 0, while ever fewer chains sustain the mean.
- `learner/variance_about_origin`: mean of x^2 over the drawn numbers, the variance about the human mean. It grows by
  1/M.
- `learner/w2`: squared 2-Wasserstein distance of the fitted to the human Gaussian, m^2 + (sqrt(v) - 1)^2.

`theory/*` are closed forms of these quantities from `moments`, as far as they exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autophage.learners.moments import median_variance, moments
from autophage.learners.protocol import NumericLearner, Parameters, constant_synthetic, mean_metric, rows_of
from autophage.metrics.intervals import quantile_interval
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.manifest import Metric


class Gaussian(NumericLearner):
    """Learner `gaussian`: mean and variance of numbers, fitted to draws from the Gaussian before."""

    digest = "N(0, 1)"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._repetitions = recipe.learner.repetitions

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "gaussian", "values": f"one number of each of {self._repetitions} chains"}

    def human(self, draw: int, count: int) -> list[np.ndarray]:
        return rows_of(np.random.default_rng(draw).standard_normal((count, self._repetitions)))

    def fit(self, rows: Sequence[np.ndarray], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Return the sample `mean` and the unbiased `variance` of each chain, float64 `[repetitions]`.

        `seed` and `previous` are unused.
        """
        values = np.stack(rows).astype(np.float64)
        return {"mean": values.mean(axis=0), "variance": values.var(axis=0, ddof=1)}

    def draw(self, state: Parameters, count: int, seed: int) -> list[np.ndarray]:
        normal = np.random.default_rng(seed).standard_normal((count, len(state["mean"])))
        return rows_of(state["mean"] + np.sqrt(state["variance"]) * normal)

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[np.ndarray], seed: int
    ) -> list[Metric]:
        mean, variance = state["mean"], state["variance"]
        drawn = np.stack(rows).astype(np.float64)
        return [
            mean_metric("learner/variance", variance),
            Metric(
                "learner/variance_median", float(np.median(variance)), *quantile_interval(variance, 0.5), len(variance)
            ),
            mean_metric("learner/variance_about_origin", (drawn**2).mean(axis=0)),
            mean_metric("learner/w2", mean**2 + (np.sqrt(variance) - 1) ** 2),
            *self._theory(generation),
        ]

    def _theory(self, generation: int) -> list[Metric]:
        mix, count, synthetic = self._recipe.mix, self._recipe.sample.count, constant_synthetic(self._recipe)
        if synthetic is None:
            return []
        repeated = mix.human == "fixed" and generation > 0 and synthetic < count
        if repeated and (synthetic > 0 or mix.pool != "replace"):
            return []  # repeated human rows are not independent of the model
        if mix.pool == "accumulate-subsample" and generation > 0:
            return []  # all chains keep the same rows, so their mean does not estimate the expectation
        expected = moments(count, synthetic, generation, accumulate=mix.pool == "accumulate")
        found = {
            "theory/variance": expected.variance,
            "theory/variance_about_origin": expected.about_origin,
            "theory/w2": expected.w2,
        }
        if mix.pool == "replace" and synthetic in (0, count):
            found["theory/variance_median"] = median_variance(count, generation + 1 if synthetic else 1)
        return [Metric(name, value) for name, value in found.items()]
