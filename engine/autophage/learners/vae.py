"""The variational autoencoder of arXiv 2305.17493. Each VAE is trained on decodes of N(0, I) by the VAE before it.

Encoder and decoder have one hidden layer each (Kingma & Welling 2014), where the paper has two convolutions. Such a
VAE trains in seconds on two cores. The loss per image is the Bernoulli cross-entropy of the pixels plus KL to N(0,
I), minimised by Adam. An image of generation g is the decoder's mean, as in the paper. With chain = "restart" each
generation starts with new weights, as in the paper. "cumulative" starts with those of the model before. Metrics:

- `learner/latent_std`: standard deviation of the codes that model 0's encoder gives to model g's images, averaged
  over dimensions. A code is the encoder's mean. 1 is the width of the prior.
- `learner/reconstruction`: cross-entropy in nats of held-out human images through model g.
- `learner/recognised`: mean probability of the most likely digit under a logistic regression trained on human images.
- `learner/digit_entropy`: entropy in nats of the mean distribution over digits. Equal frequencies give log 10 = 2.30.

Intervals are bootstrapped over images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from autophage.host.devices import device
from autophage.learners.digits import PIXELS, SIDE, Drawn, Images, Mnist, as_stored
from autophage.learners.protocol import NumericLearner, Parameters, rows_of
from autophage.metrics.intervals import ratio_bootstrap
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.seeds import derive
from autophage.store.manifest import Metric

RECOGNISER_IMAGES = 3000
"""Number of human images that the digit recogniser is trained on."""
BLOCK = 2
"""Side in pixels of the blocks whose means the recogniser sees.

The fit takes a second, and single pixels have no effect.
"""


class Autoencoder(nn.Module):
    """A variational autoencoder of flattened images: an encoder and a decoder with one hidden layer each.

    `latent` and `hidden` are the numbers of latent dimensions and of hidden units.
    """

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent code of each of `images` `[N, PIXELS]`, both `[N, latent]`."""
        mean, log_variance = self.encode(images).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return the negative evidence lower bound in nats, a scalar mean over `images` `[N, PIXELS]`.

        `noise` `[N, latent]` is standard normal and decides the sampled codes.
        """
        mean, log_variance = self.moments(images)
        logits = self.decode(mean + torch.exp(0.5 * log_variance) * noise)
        entropy = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return (entropy + divergence) / len(images)


class Vae(NumericLearner):
    """Learner `vae`: a variational autoencoder of digit images, trained on images of the decoder before."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        path = recipe.source.path
        self._images: Images = Drawn(recipe.source.seed) if path is None else Mnist(Path(path))
        self.digest = self._images.digest
        self._device = device()
        self.device = torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu"

    @property
    def config(self) -> dict[str, Any]:
        learner = self._recipe.learner
        values = f"an image of {SIDE} x {SIDE} pixels, row by row, in 0 to 1"
        return {"kind": "vae", "latent": learner.latent, "hidden": learner.hidden, "values": values}

    def human(self, draw: int, count: int) -> list[np.ndarray]:
        return list(self._images.draw(draw, count)[0])

    def fit(self, rows: Sequence[np.ndarray], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Train an autoencoder on the images `rows` and return its float32 weights by their names in `Autoencoder`.

        A cumulative chain starts from `previous`. Otherwise `seed` decides the first weights.
        """
        train = self._recipe.train
        images = torch.from_numpy(np.stack(rows)).to(self._device)
        model = self._new(seed)
        if previous is not None and train.chain == "cumulative":
            self._load(model, previous)
        optimizer = torch.optim.Adam(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
        noises = torch.Generator().manual_seed(derive(seed, "noise"))
        batches = self._batches(len(rows), seed)
        meter.expect(len(batches))
        for places in batches:
            noise = torch.randn(len(places), self._recipe.learner.latent, generator=noises).to(self._device)
            optimizer.zero_grad()
            model.loss(images[torch.from_numpy(places)], noise).backward()
            optimizer.step()
            meter.advance()
        return {name: part.detach().cpu().numpy() for name, part in model.state_dict().items()}

    def _batches(self, rows: int, seed: int) -> list[np.ndarray]:
        """Return the indices in the training data of each step's images, for `rows` images in all.

        An epoch is one permutation, and a fractional last epoch is cut.
        """
        train = self._recipe.train
        rng = np.random.default_rng(derive(seed, "order"))
        order = np.concatenate([rng.permutation(rows) for _ in range(math.ceil(train.epochs))])
        seen = max(1, round(train.epochs * rows))
        return [order[start : start + train.batch_size] for start in range(0, seen, train.batch_size)]

    def draw(self, state: Parameters, count: int, seed: int) -> list[np.ndarray]:
        model = self._loaded(state)
        codes = torch.randn(count, self._recipe.learner.latent, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            images = torch.sigmoid(model.decode(codes.to(self._device))).cpu().numpy()
        return rows_of(as_stored(images))

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[np.ndarray], seed: int
    ) -> list[Metric]:
        images, settings = np.stack(rows), self._recipe.measure
        with torch.no_grad():
            codes = self._loaded(base).moments(self._tensor(images))[0].cpu().numpy().astype(np.float64)
            losses = self._reconstruction(state, self._images.held_out(settings.documents))
        digits = self.recogniser.predict_proba(blocks(images))
        return [
            _resampled("learner/latent_std", codes, latent_std, settings.resamples, seed),
            Metric(
                "learner/reconstruction",
                float(losses.mean()),
                *ratio_bootstrap(losses, np.ones(len(losses)), settings.resamples, seed),
                len(losses),
            ),
            _resampled("learner/recognised", digits, recognised, settings.resamples, seed),
            _resampled("learner/digit_entropy", digits, digit_entropy, settings.resamples, seed),
        ]

    def _reconstruction(self, state: Parameters, images: np.ndarray) -> np.ndarray:
        """Return the cross-entropy in nats of each of `images` with its reconstruction from the mean code."""
        model, seen = self._loaded(state), self._tensor(images)
        logits = model.decode(model.moments(seen)[0])
        nats = functional.binary_cross_entropy_with_logits(logits, seen, reduction="none").sum(dim=1)
        return nats.cpu().numpy().astype(np.float64)

    @cached_property
    def recogniser(self) -> Any:
        """Logistic regression that recognises the digit of an image. It is fitted to human images.

        The fit is the same for all arms and generations.
        """
        images, labels = self._images.draw(derive(self._recipe.source.seed, "recogniser"), RECOGNISER_IMAGES)
        return LogisticRegression(C=0.1, max_iter=200).fit(blocks(images), labels)

    def _new(self, seed: int) -> Autoencoder:
        learner = self._recipe.learner
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            return Autoencoder(learner.latent, learner.hidden).to(self._device)

    def _loaded(self, state: Parameters) -> Autoencoder:
        model = self._new(0)
        self._load(model, state)
        return model

    @staticmethod
    def _load(model: Autoencoder, state: Parameters) -> None:
        model.load_state_dict({name: torch.from_numpy(np.array(part)) for name, part in state.items()})

    def _tensor(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).to(self._device)


def blocks(images: np.ndarray) -> np.ndarray:
    """Return the means of `images` `[N, PIXELS]` over blocks of `BLOCK` x `BLOCK` pixels, `[N, PIXELS / BLOCK^2]`."""
    side = SIDE // BLOCK
    means: np.ndarray = images.reshape(-1, side, BLOCK, side, BLOCK).mean(axis=(2, 4))
    return means.reshape(len(images), -1)


def latent_std(codes: np.ndarray) -> float:
    """Return the standard deviation of `codes` `[images, latent]` over images, averaged over latent dimensions."""
    return float(codes.std(axis=0).mean())


def recognised(digits: np.ndarray) -> float:
    """Return the mean over images of the largest of the ten probabilities in `digits` `[images, 10]`."""
    return float(digits.max(axis=1).mean())


def digit_entropy(digits: np.ndarray) -> float:
    """Return the entropy in nats of the mean over images of the probabilities `digits` `[images, 10]`."""
    mean = digits.mean(axis=0)
    mean = mean[mean > 0]
    return float(-(mean * np.log(mean)).sum())


def _resampled(name: str, values: np.ndarray, statistic: Any, resamples: int, seed: int) -> Metric:
    """Return the metric `name`: a `statistic` of `values` `[images, ...]` with a 95% bootstrap interval over images."""
    rng = np.random.default_rng(derive(seed, name))
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Metric(name, statistic(values), float(low), float(high), len(values))
