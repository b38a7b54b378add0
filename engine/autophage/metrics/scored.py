"""Token statistics of one sequence, as the metrics see them: numpy arrays, one value per token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of the T tokens after a sequence's context, each under the model's full distribution at temperature 1, in nats."""

    logprob: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    max_prob: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class Scored(Statistics):
    """Statistics of tokens that somebody else wrote; `argmax` is the token that the model prefers in their place."""

    argmax: np.ndarray
