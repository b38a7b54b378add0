"""Expected calibration error.

The error compares confidence with accuracy, in `BINS` bins of equal width over [0, 1]:

    ECE = sum_b |B_b| / n * |accuracy(B_b) - confidence(B_b)| = sum_b |sum over B_b of (right - confidence)| / n

Sources are Naeini et al. 2015 and Guo et al. 2017 (arXiv 1706.04599). With few answers in a bin, the error of a
calibrated model is above 0. Compare only slices of one size.
"""

from __future__ import annotations

import numpy as np

from autophage.metrics.intervals import clipped, group_count, jackknife_interval

BINS = 15


def calibration_error(
    right: np.ndarray, confidence: np.ndarray, units: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """Return the expected calibration error (0 to 1) of n answers and its 95% jackknife interval.

    The jackknife keeps the answers of a unit together. Fewer than two units give the interval (nan, nan).

    Args:
        right: 1 or True for each right answer, [n].
        confidence: Probability of each answer, [n].
        units: Number, from 0, of the fact or question of each answer, [n].
    """
    groups = group_count(int(units.max()) + 1)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps_GB = np.zeros((groups, BINS))
    np.add.at(gaps_GB, (units % groups, bins), right - confidence)
    sizes_G = np.bincount(units % groups, minlength=groups)
    value = float(np.abs(gaps_GB.sum(axis=0)).sum() / len(right))
    # Each group has a unit, so with two groups or more, none is left empty.
    rest = np.maximum(len(right) - sizes_G, 1)
    left_out = np.abs(gaps_GB.sum(axis=0) - gaps_GB).sum(axis=1) / rest
    return value, clipped(jackknife_interval(value, left_out))
