"""Tell stale weights from rounding, by the log-probs of the same tokens under three models.

With s the log-probs that the sampler served, n those under the trained weights and o those under other weights, s - n is
regressed on o - n. The slope is 0 where the trained weights are served and 1 where the others are. Rounding in s - n alone
widens the standard error and does not move the slope. Rounding in n enters both sides. It moves the slope of a tiny step
towards 1/2, from either end. The slope is above 1/2 exactly where the served log-probs lie nearer to the other weights.

Shapes: N tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEARER = 0.5
"""Slope at which the served log-probs are as near to one model as to the other."""
SIGMAS = 5.0
"""Standard errors beyond `NEARER` at which a slope is beyond doubt: by chance once in 3 million swaps."""
RESOLVED = 1e-5
"""Root mean square of o - n (nats) below which a step is rounding of float32, and no slope is taken."""


class Slope(NamedTuple):
    """A regression's slope with its standard error."""

    value: float
    error: float

    @property
    def stale(self) -> bool:
        """True if the sampler serves the other weights, beyond doubt. A slope that is not finite is stale.

        A slope far below 0 is stale too: the step is served more than once, as with a wrong scale of the adapter.
        """
        return not (abs(self.value) - SIGMAS * self.error <= NEARER)

    @property
    def fresh(self) -> bool:
        """True if the sampler serves the trained weights, beyond doubt."""
        return abs(self.value) + SIGMAS * self.error < NEARER


def slope(served_N: np.ndarray, trained_N: np.ndarray, other_N: np.ndarray) -> Slope | None:
    """Regress served - trained on other - trained log-probs (nats), with an intercept. None if both models are equal.

    The standard error allows for tokens of unequal rounding and of large leverage (HC3: MacKinnon and White 1985).
    """
    step_N = np.asarray(other_N, dtype=np.float64) - trained_N
    error_N = np.asarray(served_N, dtype=np.float64) - trained_N
    if np.sqrt(np.mean(step_N**2)) < RESOLVED:
        return None
    step_N, error_N = step_N - step_N.mean(), error_N - error_N.mean()
    power = float(step_N @ step_N)
    found = float(step_N @ error_N) / power
    leverage_N = 1 / len(step_N) + step_N**2 / power
    residual_N = (error_N - found * step_N) / np.maximum(1 - leverage_N, 1e-9)
    return Slope(found, float(np.sqrt((step_N * residual_N) @ (step_N * residual_N))) / power)
