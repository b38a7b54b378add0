"""Token statistics of one sequence: numpy arrays, one value per token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = -100.0
"""Log-prob in nats that stands for probability 0.

It is below the logarithm of the smallest normal float32, -87.3. Its sums, ratios and perplexities stay finite.
"""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of T tokens of one sequence, under a model's full distribution at temperature 1.

    The tokens follow the sequence's context. Each array is [T]. `logprob` and `entropy` are in nats, `varentropy` is in
    nats^2. `max_prob` is the probability of the likeliest token. `rank` is the place of the token itself by falling
    probability, from 1.
    """

    logprob: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    max_prob: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class Scored(Statistics):
    """Statistics of given text. `argmax` [T] holds the id of the model's likeliest token at each position."""

    argmax: np.ndarray


@dataclass(frozen=True)
class Compared:
    """Statistics of T tokens under a model other than their writer.

    `kl` [T] holds the divergence KL(writer || that model) at each token, in nats.
    """

    scored: Scored
    kl: np.ndarray


def log_probs(scored: Statistics) -> np.ndarray:
    """Return the log-probs of a sequence's T tokens in nats, as float64 [T].

    The lowest value is `FLOOR`.
    """
    return np.maximum(scored.logprob.astype(np.float64), FLOOR)
