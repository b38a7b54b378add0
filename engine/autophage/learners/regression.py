"""Linear regression on its own labels (arXiv 2404.01413). Here accumulating data provably bounds the error.

Features are x ~ N(0, I_d). The label of a human row is w* . x + noise. The label of a row of model g is w_g . x +
noise, with fresh x and noise of standard deviation `learner.noise`. The fit is ordinary least squares.
`learner.repetitions` chains are computed together. For each chain a row holds d features and the label.

- `learner/test_error`: E_x[(w_g . x - w* . x)^2] = |w_g - w*|^2, mean over chains.
- `theory/test_error`: expectation of the test error for T rows a generation (`expected_error`), if it has a closed
  form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autophage.learners.protocol import NumericLearner, Parameters, constant_synthetic, mean_metric, rows_of
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.manifest import Metric


class Regression(NumericLearner):
    """Learner `regression`: linear regression by least squares, fitted to labels of the model before."""

    digest = "x ~ N(0, I), y = w . x + noise"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._repetitions, self._dimensions = recipe.learner.repetitions, recipe.learner.dimensions
        self._noise = recipe.learner.noise
        # Least squares moves with the labels, so the error does not depend on w*.
        self._truth = np.full(self._dimensions, self._dimensions**-0.5)

    @property
    def config(self) -> dict[str, Any]:
        values = f"{self._dimensions} features and a label of each of {self._repetitions} chains"
        return {"kind": "regression", "truth": self._truth.tolist(), "noise": self._noise, "values": values}

    def human(self, draw: int, count: int) -> list[np.ndarray]:
        return self._labelled(np.broadcast_to(self._truth, (self._repetitions, self._dimensions)), count, draw)

    def fit(self, rows: Sequence[np.ndarray], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Return the least-squares `weights` of each chain, float64 `[repetitions, dimensions]`.

        `seed` and `previous` are unused.
        """
        values = np.stack(rows).reshape(len(rows), self._repetitions, -1).astype(np.float64)
        x, y = values[..., :-1], values[..., -1:]
        gram = np.einsum("nrd,nre->rde", x, x, optimize=True)
        moment = np.einsum("nrd,nre->rde", x, y, optimize=True)
        return {"weights": np.linalg.solve(gram, moment)[..., 0]}

    def draw(self, state: Parameters, count: int, seed: int) -> list[np.ndarray]:
        return self._labelled(state["weights"], count, seed)

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[np.ndarray], seed: int
    ) -> list[Metric]:
        errors = ((state["weights"] - self._truth) ** 2).sum(axis=1)
        return [mean_metric("learner/test_error", errors), *self._theory(generation)]

    def _labelled(self, weights: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((count, *weights.shape))
        noise = rng.standard_normal((count, len(weights)))
        y = np.einsum("nrd,rd->nr", x, weights) + self._noise * noise
        return rows_of(np.concatenate([x, y[..., None]], axis=-1))

    def _theory(self, generation: int) -> list[Metric]:
        mix, count, synthetic = self._recipe.mix, self._recipe.sample.count, constant_synthetic(self._recipe)
        if synthetic is None:
            return []
        repeated = mix.human == "fixed" and synthetic < count and mix.pool != "replace"
        if mix.pool == "accumulate-subsample" or synthetic not in (0, count) or (repeated and generation > 0):
            return []
        error = expected_error(
            count, self._dimensions, generation, synthetic=synthetic > 0, accumulate=mix.pool == "accumulate"
        )
        return [Metric("theory/test_error", self._noise**2 * error)]


def expected_error(rows: int, dimensions: int, generation: int, *, synthetic: bool, accumulate: bool) -> float:
    """Return the expected test error E|w_g - w*|^2 of model g = `generation`, for label noise 1.

    Each generation has T = `rows` rows of d = `dimensions` features. `synthetic` says that the model before labels
    them. `accumulate` keeps earlier rows. One fit to n rows has the error `e(n) = d / (n - d - 1)`. The reason is the
    mean of the inverse Wishart distribution, `E[(X^T X)^-1] = I / (n - d - 1)`.

        human rows       e(T), and e((g + 1) T) if they accumulate
        replaced         (g + 1) e(T)                              theorem 1 of arXiv 2404.01413, n = g + 1
        accumulated      sum over i = 1..g + 1 of e(i T) / i

    The last line follows from S w_i = S_before w_{i-1} + X_i^T (X_i w_{i-1} + noise) over all rows so far. A fit
    moves the weights by S^-1 X_i^T noise. The mean square of that step is a share 1/i of e(i T), because the i blocks
    of S are exchangeable. Since e(i T) <= e(T) / i, the error stays below e(T) * sum 1/i^2 < e(T) pi^2 / 6. That is
    the bound of their theorem 2.
    """

    def one_fit(count: int) -> float:
        return dimensions / (count - dimensions - 1)

    fits = generation + 1
    if not synthetic:
        return one_fit(fits * rows if accumulate else rows)
    if accumulate:
        return sum(one_fit(i * rows) / i for i in range(1, fits + 1))
    return fits * one_fit(rows)
