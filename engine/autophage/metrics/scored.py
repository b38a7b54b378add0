"""Token statistics of one sequence, as the metrics see them: numpy arrays, one value per scored token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scored:
    """Statistics of the T tokens after a sequence's context, in nats; `argmax` is the token the model prefers there."""

    logprob: np.ndarray
    entropy: np.ndarray
    varentropy: np.ndarray
    max_prob: np.ndarray
    rank: np.ndarray
    argmax: np.ndarray
