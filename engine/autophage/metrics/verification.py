"""Verification of wrong labels in closed form: the breakdown point and the accuracy of one fit.

Two classes y = +1 or -1 have features x ~ N(y mu, I_d) with |mu| = m. A label is wrong with probability p, independent
of x. The verifier keeps right labels with probability phi and wrong ones with psi. Among the kept labels the right
ones are the majority if and only if

    p < p* = 1 / (1 + psi / phi)                                                    arXiv 2406.07515

Below p* the maximum-likelihood classifier of the two classes, the mean of label times x, points to the right side. As
rows increase, its accuracy becomes a step at p*: Phi(m) below, Phi(-m) above (`limits`).

For n rows (`expected_accuracy`), let K be kept, K_wrong of them wrong, and D = K - 2 K_wrong. The sum of label times x
is exactly D mu + sqrt(K) z with z ~ N(0, I_d). The classifier w that it defines has the accuracy

    Phi(mu . w / |w|) = Phi(m a / sqrt(a^2 + c)),   a = m D / sqrt(K) + z_1,   c ~ chi^2 with d - 1 degrees of freedom.

The expectation is over a and c. Here a is taken as normal, with its mean and variance for large K (central limit
theorem).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri

POINTS = 256
"""Number of equally probable values that represent each of the two distributions of `expected_accuracy`."""


def breakdown_point(keep_right: float, keep_wrong: float) -> float:
    """Return p*, the share of wrong labels above which a verifier keeps more wrong than right ones.

    The arguments are the shares of right and of wrong labels that the verifier keeps.
    """
    return keep_right / (keep_right + keep_wrong)


def limits(separation: float) -> tuple[float, float]:
    """Return the accuracy of a classifier fitted to unlimited rows, below and above the breakdown point.

    The first is that of the best classifier, the second that of its opposite. `separation` is the distance of a class
    mean from the origin, in standard deviations of a feature.
    """
    return float(ndtr(separation)), float(ndtr(-separation))


@lru_cache(maxsize=4096)
def expected_accuracy(
    rows: int, dimensions: int, separation: float, error: float, keep_right: float, keep_wrong: float
) -> float:
    """Return the expected accuracy (0 to 1) of a classifier fitted to labels that a verifier keeps.

    If no label is kept, the accuracy is one half.

    Args:
        rows: Number of labels before verification.
        dimensions: Number of features of a row.
        separation: Distance of a class mean from the origin, in standard deviations of a feature.
        error: Share p of wrong labels before verification.
        keep_right: Share of right labels that the verifier keeps.
        keep_wrong: Share of wrong labels that the verifier keeps.
    """
    right, wrong = keep_right * (1 - error), keep_wrong * error
    kept = right + wrong
    if kept == 0.0:
        return 0.5
    margin = (right - wrong) / kept
    # sqrt(K) of a binomial K, to first order: its mean is a little below sqrt(n kept), its variance (1 - kept) / 4.
    root = math.sqrt(rows * kept) * (1 - (1 - kept) / (8 * rows * kept))
    variance = 1 + separation**2 * ((1 - margin**2) + margin**2 * (1 - kept) / 4)
    quantiles = (np.arange(POINTS) + 0.5) / POINTS
    along = separation * margin * root + math.sqrt(variance) * ndtri(quantiles)[:, None]
    across = 2 * gammaincinv((dimensions - 1) / 2, quantiles) if dimensions > 1 else np.zeros(1)
    return float(ndtr(separation * along / np.sqrt(along**2 + across)).mean())
