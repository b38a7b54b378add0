"""The Gaussian mixture of arXiv 2305.17493: scikit-learn's EM with the paper's settings, fitted to its own samples.

Human data are two Gaussians in the plane with weights 3/4 and 1/4. Each fit has full covariances, tol 1e-5 and at
most 2,000 iterations. It starts anew (chain = "restart", as in the paper) or at the model before (chain =
"cumulative"). The `learner.repetitions` chains are independent. A row holds one point per chain. Metrics are means
over chains:

- `learner/l2`: L2 distance of the fitted and the human density, sqrt of the integral of (p - q)^2, in closed form.
- `learner/cross_entropy`: mean negative log-density of held-out human points in nats.
- `learner/smallest_weight`: weight of the smallest component.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from autophage.learners.protocol import NumericLearner, Parameters, mean_metric, rows_of
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.seeds import derive
from autophage.store.manifest import Metric

WEIGHTS = np.array([0.75, 0.25])
MEANS = np.array([[-1.0, -1.0], [1.5, 1.5]])
COVARIANCES = np.array([[[1.0, 0.3], [0.3, 0.6]], [[0.4, -0.1], [-0.1, 0.4]]])
"""Weights, means and covariances of the human density.

Its components overlap, so a point does not identify its component.
"""
TOLERANCE, ITERATIONS = 1e-5, 2000


class Mixture(NumericLearner):
    """Learner `mixture`: a mixture of Gaussians in the plane, fitted by EM to draws from the mixture before."""

    digest = f"{WEIGHTS.tolist()} {MEANS.tolist()} {COVARIANCES.tolist()}"

    def __init__(self, recipe: Recipe) -> None:
        self._repetitions, self._components = recipe.learner.repetitions, recipe.learner.components
        self._cumulative = recipe.train.chain == "cumulative"
        self._held_out = self._draw(HUMAN, recipe.measure.documents, derive(0, "held-out", "mixture"))[:, 0]

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "mixture", "values": f"x and y of a point of each of {self._repetitions} chains"}

    def human(self, draw: int, count: int) -> list[np.ndarray]:
        state = {name: np.broadcast_to(part, (self._repetitions, *part.shape[1:])) for name, part in HUMAN.items()}
        return rows_of(self._draw(state, count, draw))

    def fit(self, rows: Sequence[np.ndarray], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Return the fitted parameters of R chains with K components each, float64.

        They are `weights` `[R, K]`, `means` `[R, K, 2]` and `covariances` `[R, K, 2, 2]`. A cumulative chain starts
        EM at `previous`.
        """
        points = np.stack(rows).reshape(len(rows), self._repetitions, 2).astype(np.float64)
        fits = []
        meter.expect(self._repetitions)
        for chain in range(self._repetitions):
            start = None if previous is None or not self._cumulative else {n: a[chain] for n, a in previous.items()}
            fits.append(self._fit(points[:, chain], derive(seed, chain), start))
            meter.advance()
        return {name: np.stack([fit[name] for fit in fits]) for name in HUMAN}

    def _fit(self, points: np.ndarray, seed: int, start: Parameters | None) -> Parameters:
        begin = {}
        if start is not None:
            precisions = np.linalg.inv(start["covariances"])
            begin = {"weights_init": start["weights"], "means_init": start["means"], "precisions_init": precisions}
        model = GaussianMixture(
            self._components,
            covariance_type="full",
            tol=TOLERANCE,
            max_iter=ITERATIONS,
            random_state=seed % 2**32,
            **begin,
        )
        with warnings.catch_warnings():
            # Nearly collapsed points are the object of study. With them EM may exhaust its iterations, and the k-means
            # that initialises it may find fewer distinct points than components.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points)
        return {"weights": model.weights_, "means": model.means_, "covariances": model.covariances_}

    def draw(self, state: Parameters, count: int, seed: int) -> list[np.ndarray]:
        return rows_of(self._draw(state, count, seed))

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[np.ndarray], seed: int
    ) -> list[Metric]:
        chains = [{name: part[chain] for name, part in state.items()} for chain in range(self._repetitions)]
        human = {name: part[0] for name, part in HUMAN.items()}
        return [
            mean_metric("learner/l2", np.array([l2_distance(chain, human) for chain in chains])),
            mean_metric(
                "learner/cross_entropy", np.array([-log_density(chain, self._held_out).mean() for chain in chains])
            ),
            mean_metric("learner/smallest_weight", state["weights"].min(axis=1)),
        ]

    @staticmethod
    def _draw(state: Parameters, count: int, seed: int) -> np.ndarray:
        """Draw `count` points from the mixture of each of R chains, `[count, R, 2]`.

        A component is drawn by its weight, then a point from that component.
        """
        rng = np.random.default_rng(seed)
        weights = state["weights"]
        chosen = (rng.random((count, len(weights), 1)) > np.cumsum(weights, axis=1)).sum(axis=2)
        chosen = np.minimum(chosen, weights.shape[1] - 1)  # rounding may leave the sum of weights below 1
        chains = np.arange(len(weights))
        roots = np.linalg.cholesky(state["covariances"])[chains, chosen]
        normal = rng.standard_normal((count, len(weights), 2))
        points: np.ndarray = state["means"][chains, chosen] + np.einsum("nrij,nrj->nri", roots, normal)
        return points


HUMAN: Parameters = {"weights": WEIGHTS[None], "means": MEANS[None], "covariances": COVARIANCES[None]}
"""The human density as parameters of one chain."""


def l2_distance(p: Parameters, q: Parameters) -> float:
    """Return the L2 distance of two mixture densities in closed form. It is the root of the integral of `(p - q)^2`.

    `p` and `q` are the parameters of one chain each, without a chain axis. The integral of a product of two Gaussians
    is `N(a - b; 0, A + B)` of their means and covariances. With signed weights the whole integral is one sum over
    pairs of components.
    """
    weights = np.concatenate([p["weights"], -q["weights"]])
    means = np.concatenate([p["means"], q["means"]])
    covariances = np.concatenate([p["covariances"], q["covariances"]])
    densities = gaussian_density(means[:, None] - means[None, :], covariances[:, None] + covariances[None, :])
    return math.sqrt(max(0.0, float(weights @ densities @ weights)))


def log_density(state: Parameters, points: np.ndarray) -> np.ndarray:
    """Return the log-density of a mixture at each of `points` `[N, 2]`, `[N]`. `state` has no chain axis."""
    parts = gaussian_log_density(points[:, None] - state["means"], state["covariances"]) + np.log(state["weights"])
    highest = parts.max(axis=1, keepdims=True)
    density: np.ndarray = highest[:, 0] + np.log(np.exp(parts - highest).sum(axis=1))
    return density


def gaussian_density(offsets: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Return the density of N(0, covariance) at each offset `[..., 2]`, for `covariances` `[..., 2, 2]`."""
    densities: np.ndarray = np.exp(gaussian_log_density(offsets, covariances))
    return densities


def gaussian_log_density(offsets: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Return the log of `gaussian_density`."""
    _, log_determinant = np.linalg.slogdet(2 * np.pi * covariances)
    scaled = np.linalg.solve(covariances, offsets[..., None])[..., 0]
    logs: np.ndarray = -0.5 * (log_determinant + (offsets * scaled).sum(axis=-1))
    return logs
