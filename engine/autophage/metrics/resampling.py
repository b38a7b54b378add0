"""Paired bootstrap over seeds and questions: means, slopes, differences, p-values.

All arms of a study answer the same questions, in every generation and under every seed. A resample draws the questions
once for all arms and generations. The difficulty of a question then cancels in a difference. Seeds are drawn likewise:
place s is the same random chain in every arm. With one seed the spread between seeds is unknown, and intervals cover
the questions alone.

Arrays are `values_SGQ`: S seeds, G generations, Q questions. The caller gives the seed of the resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autophage.metrics.intervals import Estimate
from autophage.seeds import derive

RESAMPLES = 1000
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class BootstrapEstimate(Estimate):
    """A value with its 95% interval and a bootstrap p-value.

    `p` is two-sided. Its hypothesis is that the value is 0.
    """

    p: float = 1.0


class Resampling:
    """Random draws of questions and seeds, with replacement, that all arms of a study share.

    Two results of `series` may be subtracted or divided, draw by draw.
    """

    def __init__(self, questions: int, seed: int, resamples: int = RESAMPLES) -> None:
        self._seed, self.resamples = seed, resamples
        self._weights_RQ = self._drawn(questions, "questions")
        self._weights_RS: dict[int, np.ndarray] = {}

    def series(self, values_SGQ: np.ndarray) -> np.ndarray:
        """Average `values_SGQ` over seeds and questions, for the data and for each resample.

        The result is [1 + resamples, G]. Row 0 is the data itself.
        """
        seeds, generations, questions = values_SGQ.shape
        means_RSG = (self._weights_RQ @ values_SGQ.reshape(seeds * generations, questions).T).reshape(
            -1, seeds, generations
        )
        if seeds not in self._weights_RS:
            self._weights_RS[seeds] = self._drawn(seeds, "seeds")
        return np.asarray(np.einsum("rs,rsg->rg", self._weights_RS[seeds], means_RSG))

    def _drawn(self, count: int, of: str) -> np.ndarray:
        """Return the weights of `count` seeds or questions in each resample, [1 + resamples, count].

        A row adds up to 1. Row 0 is the data itself. `of` names the random stream.
        """
        rng = np.random.default_rng(derive(self._seed, of, count))
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=self.resamples)
        return np.vstack([np.ones(count), drawn]) / count


def estimate(values_R: np.ndarray) -> BootstrapEstimate:
    """Return a statistic of the data with its 95% interval and p-value.

    `values_R[0]` is the statistic of the data, the others are those of resamples. Their 2.5% and 97.5% percentiles are
    the interval. The p-value is twice the smaller share of resamples on either side of 0. It is at least 1 / (resamples
    + 1) (Davison & Hinkley 1997, section 4.4). Without finite resamples there is no interval, and p is 1.
    """
    value, drawn = float(values_R[0]), values_R[1:]
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size == 0:
        return BootstrapEstimate(value)
    low, high = np.percentile(drawn, TAILS)
    beyond = min(float((drawn <= 0).sum()), float((drawn >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (drawn.size + 1))
    return BootstrapEstimate(value, float(low), float(high), p=p)


def slopes(series_RG: np.ndarray, generations: Sequence[int]) -> np.ndarray:
    """Fit a line to each of R series over `generations` [G], and return the slopes [R] per generation."""
    centred = np.asarray(generations) - np.mean(generations)
    return np.asarray(series_RG @ centred / (centred @ centred))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979), and return them in the same order.

    The chance that any adjusted value below a level is a false positive stays below that level.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
