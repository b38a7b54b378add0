from __future__ import annotations

import numpy as np
import pytest
from tests.learners.conftest import Load

from autophage.learners.mixture import HUMAN, Mixture, l2_distance, log_density
from autophage.learners.protocol import Parameters
from autophage.progress import Meter

HUMAN_ONE = {name: part[0] for name, part in HUMAN.items()}


def fit(learner: Mixture, rows: list[np.ndarray], previous: Parameters | None = None, seed: int = 3) -> Parameters:
    return learner.fit(rows, seed, previous, Meter())


def test_the_distance_is_the_integral() -> None:
    other = {**HUMAN_ONE, "means": HUMAN_ONE["means"] + 0.4, "weights": np.array([0.5, 0.5])}
    axis = np.linspace(-8, 8, 401)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    gap = np.exp(log_density(HUMAN_ONE, points)) - np.exp(log_density(other, points))
    assert l2_distance(HUMAN_ONE, other) == pytest.approx(np.sqrt((gap**2).sum() * (axis[1] - axis[0]) ** 2), rel=1e-6)
    assert l2_distance(HUMAN_ONE, HUMAN_ONE) == pytest.approx(0.0, abs=1e-7)


def test_the_density_is_scikit_learns(load: Load) -> None:
    from sklearn.mixture import GaussianMixture

    points = np.stack(Mixture(load("mixture").recipe).human(1, 300))[:, :2].astype(float)
    model = GaussianMixture(2, random_state=0).fit(points)
    state = {"weights": model.weights_, "means": model.means_, "covariances": model.covariances_}
    np.testing.assert_allclose(log_density(state, points), model.score_samples(points))


def test_a_fit_to_many_human_points_finds_the_human_density(load: Load) -> None:
    learner = Mixture(load("mixture").recipe)
    state = fit(learner, learner.human(1, 20_000))
    for chain in range(2):
        one = {name: part[chain] for name, part in state.items()}
        assert l2_distance(one, HUMAN_ONE) < 0.02
        assert one["weights"].min() == pytest.approx(0.25, abs=0.02)


def test_what_is_drawn_has_the_moments_of_the_state(load: Load) -> None:
    learner = Mixture(load("mixture").recipe)
    state = {name: np.repeat(part, 2, axis=0) for name, part in HUMAN.items()}
    state["means"] = state["means"] + np.array([0.0, 5.0])[:, None, None]
    points = np.stack(learner.draw(state, 50_000, 4)).reshape(-1, 2, 2)
    mean = HUMAN_ONE["weights"] @ HUMAN_ONE["means"]
    np.testing.assert_allclose(points.mean(axis=0), [mean, mean + 5], atol=0.03)


def test_a_cumulative_chain_begins_at_the_model_before(load: Load) -> None:
    """All points belong to one component. A new fit splits them. EM from an empty component leaves it empty."""
    rows = [np.array([x, x, x, x], np.float32) + 0.1 for x in np.random.default_rng(0).standard_normal(60)]
    start = {
        "weights": np.full((2, 2), 0.5),
        "means": np.tile([[[0.0, 0.0], [900.0, 900.0]]], (2, 1, 1)),
        "covariances": np.tile(np.eye(2), (2, 2, 1, 1)),
    }
    restart, cumulative = (
        fit(Mixture(load("mixture", f"train.chain={chain}").recipe), rows, start) for chain in ("restart", "cumulative")
    )
    assert cumulative["weights"].min() < 1e-6 < restart["weights"].min()


def test_generations_leave_the_human_density(load: Load) -> None:
    learner = Mixture(load("mixture").recipe)
    rows, distances = learner.human(1, 40), []
    for generation in range(25):
        state = fit(learner, rows, seed=generation)
        rows = learner.draw(state, 40, generation)
        metrics = {one.metric: one.value for one in learner.measure(generation, state, state, rows, 0)}
        distances.append(metrics["learner/l2"])
    assert distances[-1] > 2 * distances[0]
