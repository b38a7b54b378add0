"""Expected calibration error: does a confidence of 80% mean that 80 answers of 100 are right?

    ECE = sum_b |B_b| / n * |accuracy(B_b) - confidence(B_b)| = sum_b |sum over B_b of (right - confidence)| / n

with `BINS` bins of equal width over [0, 1] (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599). With few answers
a bin the error of a calibrated model is above 0, so compare slices of one size.
"""

from __future__ import annotations

import numpy as np

from autophage.metrics.intervals import clipped, group_count, jackknife_interval

BINS = 15


def calibration_error(
    right: np.ndarray, confidence: np.ndarray, units: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """ECE of n answers, with the grouped jackknife's interval over independent units.

    `right` and `confidence` are [n]; `units[i]` numbers from 0 what answer i is about: answers of one unit stay together.
    """
    groups = group_count(int(units.max()) + 1)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps_GB = np.zeros((groups, BINS))
    np.add.at(gaps_GB, (units % groups, bins), right - confidence)
    sizes_G = np.bincount(units % groups, minlength=groups)
    value = float(np.abs(gaps_GB.sum(axis=0)).sum() / len(right))
    # Every group has a unit, so with two groups or more something is left of each.
    rest = np.maximum(len(right) - sizes_G, 1)
    left_out = np.abs(gaps_GB.sum(axis=0) - gaps_GB).sum(axis=1) / rest
    return value, clipped(jackknife_interval(value, left_out))
