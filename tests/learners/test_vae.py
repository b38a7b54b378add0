from __future__ import annotations

import numpy as np
import pytest
from tests.learners.conftest import Load
from tests.present import present

from autophage.learners.protocol import Parameters
from autophage.learners.vae import Vae, digit_entropy, recognised
from autophage.progress import Meter

pytestmark = pytest.mark.thorough


def fit(vae: Vae, rows: list[np.ndarray], seed: int = 1, previous: Parameters | None = None) -> Parameters:
    return vae.fit(rows, seed, previous, Meter())


@pytest.fixture(scope="module")
def trained() -> tuple[Vae, Parameters]:
    from autophage.recipe.schema import Recipe

    recipe = Recipe.model_validate(
        {
            "name": "x",
            "learner": {"kind": "vae", "hidden": 64, "latent": 6},
            "sample": {"count": 400},
            "train": {"epochs": 10.0, "learning_rate": 2e-3, "batch_size": 32, "chain": "restart"},
            "measure": {"documents": 40, "resamples": 100},
        }
    )
    vae = Vae(recipe)
    return vae, fit(vae, vae.human(1, 400))


def test_a_fit_is_a_function_of_rows_and_seed(trained: tuple[Vae, Parameters]) -> None:
    vae, state = trained
    again, other = fit(vae, vae.human(1, 400)), fit(vae, vae.human(1, 400), seed=2)
    assert all(np.array_equal(state[name], again[name]) for name in state)
    assert not all(np.array_equal(state[name], other[name]) for name in state)


def test_training_learns_to_reconstruct(trained: tuple[Vae, Parameters]) -> None:
    vae, state = trained
    images = np.stack(vae.human(7, 50))
    untrained = {name: part.detach().numpy() for name, part in vae._new(5).state_dict().items()}
    import torch

    with torch.no_grad():
        before, after = vae._reconstruction(untrained, images).mean(), vae._reconstruction(state, images).mean()
    assert after < 0.5 * before


def test_progress_tells_every_step_of_fractional_epochs(load: Load) -> None:
    vae = Vae(load("vae", "train.epochs=1.5", "train.batch_size=10").recipe)
    told = []
    vae.fit(vae.human(1, 40), 1, None, Meter(lambda now: told.append((now.done, now.total))))
    assert told == [(step, 6) for step in range(1, 7)]


def test_a_cumulative_chain_goes_on_from_the_weights_before(load: Load) -> None:
    for chain, same in (("cumulative", True), ("restart", False)):
        vae = Vae(load("vae", f"train.chain={chain}", "train.learning_rate=1e-12").recipe)
        first = fit(vae, vae.human(1, 64), seed=1)
        second = fit(vae, vae.human(1, 64), seed=2, previous=first)
        assert np.allclose(first["encode.0.weight"], second["encode.0.weight"], atol=1e-6) is same


def test_images_that_are_all_alike_have_no_spread(trained: tuple[Vae, Parameters]) -> None:
    vae, state = trained
    varied = vae.draw(state, 60, 3)
    alike = [varied[0]] * 60
    found = {
        kind: {one.metric: one for one in vae.measure(1, state, state, rows, 1)}
        for kind, rows in (("varied", varied), ("alike", alike))
    }
    assert found["alike"]["learner/latent_std"].value < 1e-5
    assert found["varied"]["learner/latent_std"].value > 0.2
    assert found["alike"]["learner/digit_entropy"].value < found["varied"]["learner/digit_entropy"].value
    for metric in found["varied"].values():
        assert present(metric.low) <= metric.value <= present(metric.high)


def test_what_the_recogniser_says_in_numbers() -> None:
    certain = np.eye(10)
    assert recognised(certain) == 1.0
    assert digit_entropy(certain) == pytest.approx(np.log(10))
    assert digit_entropy(certain[:1]) == 0.0
    assert recognised(np.full((3, 10), 0.1)) == pytest.approx(0.1)
