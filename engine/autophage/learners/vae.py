"""The variational autoencoder of arXiv 2305.17493: each generation is a VAE trained on decodes of N(0, I) by the one before.

One hidden layer on either side (Kingma & Welling 2014), where the paper has two convolutions: on two cores it trains in
seconds. Loss: Bernoulli cross-entropy of the pixels plus KL to N(0, I), per image; Adam. An image of generation g is the
decoder's mean, as in the paper. chain = "restart" begins each generation with new weights (the paper's), "cumulative" with
those of the model before. Metrics:

- `learner/latent_std`: standard deviation, per dimension, of the means that the encoder of model 0 gives to the images
  that model g draws, averaged over dimensions; 1 would be as wide as the prior.
- `learner/reconstruction`: cross-entropy in nats of held-out human images through model g.
- `learner/recognised`: mean probability of the likeliest digit, by a logistic regression trained on human images.
- `learner/digit_entropy`: entropy in nats of its mean distribution over digits; log 10 = 2.30 is all equally often.

Intervals: bootstrap over images.
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
"""Human images that the recogniser of digits is trained on."""
BLOCK = 2
"""The recogniser sees means of blocks of this side: a fit in a second, and no use made of single pixels."""


class Autoencoder(nn.Module):
    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent code of each image."""
        mean, log_variance = self.encode(images).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """Negative evidence lower bound in nats, mean over images."""
        mean, log_variance = self.moments(images)
        logits = self.decode(mean + torch.exp(0.5 * log_variance) * noise)
        entropy = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return (entropy + divergence) / len(images)


class Vae(NumericLearner):
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
        """The weights by their names in `Autoencoder`, float32."""
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
        """The places of each step: one permutation an epoch, the last epoch cut where it is fractional."""
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
        """Cross-entropy [images] of each image with its reconstruction from the mean code."""
        model, seen = self._loaded(state), self._tensor(images)
        logits = model.decode(model.moments(seen)[0])
        nats = functional.binary_cross_entropy_with_logits(logits, seen, reduction="none").sum(dim=1)
        return nats.cpu().numpy().astype(np.float64)

    @cached_property
    def recogniser(self) -> Any:
        """Logistic regression of the digit on human images; the same in every arm and generation."""
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
    """Means over blocks of `BLOCK` x `BLOCK` pixels: [images, PIXELS / BLOCK^2]."""
    side = SIDE // BLOCK
    means: np.ndarray = images.reshape(-1, side, BLOCK, side, BLOCK).mean(axis=(2, 4))
    return means.reshape(len(images), -1)


def latent_std(codes: np.ndarray) -> float:
    return float(codes.std(axis=0).mean())


def recognised(digits: np.ndarray) -> float:
    """`digits` [images, 10] are probabilities."""
    return float(digits.max(axis=1).mean())


def digit_entropy(digits: np.ndarray) -> float:
    mean = digits.mean(axis=0)
    mean = mean[mean > 0]
    return float(-(mean * np.log(mean)).sum())


def _resampled(name: str, values: np.ndarray, statistic: Any, resamples: int, seed: int) -> Metric:
    """A statistic of images [images, ...] with the percentile interval of its bootstrap."""
    rng = np.random.default_rng(derive(seed, name))
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Metric(name, statistic(values), float(low), float(high), len(values))
