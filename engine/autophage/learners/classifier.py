"""A linear classifier of its own verified labels (arXiv 2406.07515). Here verification decides the outcome.

Two classes y = +1 and -1 have equal probability. Features are x ~ N(y mu, I_d) with |mu| = `learner.separation`. The
label of a human row is wrong with probability `learner.error`. The label of a row of model g is sign(w_g . x) for
fresh x. The verifier knows y. It keeps a right label with probability `learner.keep_right` and a wrong one with
`learner.keep_wrong`. A fit is the mean of label times x over the kept rows, the maximum likelihood estimate for these
classes. `learner.repetitions` chains are computed together. For each chain a row holds d features, the label, and two
flags: right, kept.

- `learner/accuracy`: accuracy of model g on fresh points, Phi(mu . w_g / |w_g|), mean over chains. Without a kept row
  w_g = 0 and the accuracy is 1/2.
- `learner/kept`: share of the labels of model g that the verifier keeps.
- `learner/kept_error`: share of wrong labels among the kept ones. The next model learns the classes if it is below
  one half.
- `theory/accuracy`: expectation of the accuracy for fits to human rows (`metrics.verification`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from autophage.data.mix import synthetic_count
from autophage.learners.protocol import NumericLearner, Parameters, mean_metric, rows_of
from autophage.metrics.verification import expected_accuracy
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.manifest import Metric

LABEL, RIGHT, KEPT = -3, -2, -1
"""Indices of label and flags in a chain's part of a row. They follow the features."""


class LinearClassifier(NumericLearner):
    """Learner `classifier`: a linear classifier of two Gaussian classes, fitted to its own verified labels."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._learner = recipe, recipe.learner
        self._repetitions, self._dimensions = recipe.learner.repetitions, recipe.learner.dimensions
        # The noise is isotropic, so the direction of the mean has no effect.
        self._mean = np.full(self._dimensions, self._learner.separation * self._dimensions**-0.5)

    @property
    def digest(self) -> str:
        learner = self._learner
        return f"x ~ N(y mu, I), |mu| = {learner.separation:g}, labels wrong at {learner.error:g}"

    @property
    def config(self) -> dict[str, Any]:
        values = f"{self._dimensions} features, label, right and kept of each of {self._repetitions} chains"
        return {"kind": "classifier", "mean": self._mean.tolist(), "error": self._learner.error, "values": values}

    def human(self, draw: int, count: int) -> list[np.ndarray]:
        rng = np.random.default_rng(draw)
        classes, features = self._points(rng, count)
        wrong = rng.random(classes.shape) < self._learner.error
        return self._verified(rng, features, classes, np.where(wrong, -classes, classes))

    def fit(self, rows: Sequence[np.ndarray], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Return the fitted `weights` of each chain, float64 `[repetitions, dimensions]`.

        Each is the mean of label times features over kept rows, or 0 without any. `seed` and `previous` are unused.
        """
        values = np.stack(rows).reshape(len(rows), self._repetitions, -1).astype(np.float64)
        signed = values[..., LABEL] * values[..., KEPT]
        kept = np.maximum(values[..., KEPT].sum(axis=0), 1)
        return {"weights": np.einsum("nr,nrd->rd", signed, values[..., :LABEL], optimize=True) / kept[:, None]}

    def draw(self, state: Parameters, count: int, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        classes, features = self._points(rng, count)
        score = np.einsum("nrd,rd->nr", features, state["weights"])
        return self._verified(rng, features, classes, np.where(score >= 0, 1.0, -1.0))

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[np.ndarray], seed: int
    ) -> list[Metric]:
        weights = state["weights"]
        lengths = np.linalg.norm(weights, axis=1)
        margin = np.divide(weights @ self._mean, lengths, out=np.zeros(len(weights)), where=lengths > 0)
        values = np.stack(rows).reshape(len(rows), self._repetitions, -1)
        kept = values[..., KEPT].sum(axis=0)
        wrong = (values[..., KEPT] * (1 - values[..., RIGHT])).sum(axis=0)
        metrics = [
            mean_metric("learner/accuracy", ndtr(margin)),
            mean_metric("learner/kept", kept / len(rows)),
            *self._theory(generation),
        ]
        if kept.any():
            metrics.insert(2, mean_metric("learner/kept_error", (wrong / np.maximum(kept, 1))[kept > 0]))
        return metrics

    def _points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw points: classes +1 or -1 `[count, repetitions]`, and features `[count, repetitions, dimensions]`."""
        classes = rng.choice((-1.0, 1.0), (count, self._repetitions))
        noise = rng.standard_normal((count, self._repetitions, self._dimensions))
        return classes, classes[..., None] * self._mean + noise

    def _verified(
        self, rng: np.random.Generator, features: np.ndarray, classes: np.ndarray, labels: np.ndarray
    ) -> list[np.ndarray]:
        right = labels == classes
        rate = np.where(right, self._learner.keep_right, self._learner.keep_wrong)
        kept = rng.random(rate.shape) < rate
        return rows_of(np.concatenate([features, np.stack([labels, right, kept], axis=-1)], axis=-1))

    def _theory(self, generation: int) -> list[Metric]:
        """Return the metric `theory/accuracy` of model `generation`, or nothing if no closed form is known.

        The form holds for fits to human rows. Errors of a model's labels depend on x, those of human labels do not.
        """
        mix, rows, learner = self._recipe.mix, self._recipe.sample.count, self._learner
        if generation > 0:
            repeated = mix.human == "fixed" and mix.pool == "accumulate"
            synthetic = any(synthetic_count(self._recipe, of) for of in range(generation))
            if synthetic or mix.pool == "accumulate-subsample" or repeated:
                return []
            rows *= generation + 1 if mix.pool == "accumulate" else 1
        verifier = (learner.keep_right, learner.keep_wrong)
        value = expected_accuracy(rows, self._dimensions, learner.separation, learner.error, *verifier)
        return [Metric("theory/accuracy", value)]
