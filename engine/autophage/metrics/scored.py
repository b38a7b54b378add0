"""Token statistics of one sequence: numpy arrays, one value per token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = -100.0
"""Log-prob in nats that stands for probability 0.

It is below that of the smallest float32 (e^-103 is 0 there). Its sums, ratios and perplexities stay finite.
"""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the T tokens after a sequence's context.

    Each is under the model's full distribution at temperature 1, in nats.
    """

    logprob: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    max_prob: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class Scored(Statistics):
    """Statistics of given text. `argmax` is the token that the model prefers at each place."""

    argmax: np.ndarray


@dataclass(frozen=True)
class Compared:
    """The same T tokens under another model: its statistics, and `kl` = KL(writer || that model) at each token, in nats."""

    scored: Scored
    kl: np.ndarray


def log_probs(scored: Statistics) -> np.ndarray:
    """Log-probs as float64 [T]. `FLOOR` stands for probability 0."""
    return np.maximum(scored.logprob.astype(np.float64), FLOOR)
