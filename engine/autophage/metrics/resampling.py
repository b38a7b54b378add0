"""The bootstrap over seeds and questions together, and what is read off it: means, slopes, differences, p-values.

Every arm of a study answers the same questions in every generation and under every seed, so resampling draws questions
once for all arms and generations (a *paired* bootstrap: what is hard for everybody cancels in a difference), and so
it does seeds: place s is the same chain of random numbers in every arm. With one seed the spread between seeds is
unknown, and intervals are of the questions alone.

Arrays are `values_SGQ`: S seeds, G generations, Q questions. Resampling takes its seed from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autophage.seeds import derive

RESAMPLES = 1000
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value, its 95% percentile interval, and a two-sided bootstrap p-value of its being 0."""

    value: float
    low: float
    high: float
    p: float


class Resampling:
    """The same draw of questions and seeds for everybody: two `series` may be subtracted or divided, draw by draw."""

    def __init__(self, questions: int, seed: int, resamples: int = RESAMPLES) -> None:
        self._seed, self.resamples = seed, resamples
        self._weights_RQ = self._drawn(questions, "questions")
        self._weights_RS: dict[int, np.ndarray] = {}

    def series(self, values_SGQ: np.ndarray) -> np.ndarray:
        """Means over seeds and questions, [1 + resamples, G]; row 0 is of the data as they are."""
        seeds, generations, questions = values_SGQ.shape
        means_RSG = (self._weights_RQ @ values_SGQ.reshape(seeds * generations, questions).T).reshape(
            -1, seeds, generations
        )
        if seeds not in self._weights_RS:
            self._weights_RS[seeds] = self._drawn(seeds, "seeds")
        return np.asarray(np.einsum("rs,rsg->rg", self._weights_RS[seeds], means_RSG))

    def _drawn(self, count: int, of: str) -> np.ndarray:
        """Weights of `count` things in every resample, [1 + resamples, count]; row 0 is the data as they are."""
        rng = np.random.default_rng(derive(self._seed, of, count))
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=self.resamples)
        return np.vstack([np.ones(count), drawn]) / count


def estimate(values_R: np.ndarray) -> Estimate:
    """Row 0 with the percentiles of the others. p is twice the smaller share of resamples on either side of 0, at least
    1 / (resamples + 1) (Davison & Hinkley 1997, section 4.4)."""
    value, drawn = float(values_R[0]), values_R[1:]
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size == 0:
        return Estimate(value, np.nan, np.nan, 1.0)
    low, high = np.percentile(drawn, TAILS)
    beyond = min(float((drawn <= 0).sum()), float((drawn >= 0).sum()))
    return Estimate(value, float(low), float(high), min(1.0, 2 * (beyond + 1) / (drawn.size + 1)))


def slopes(series_RG: np.ndarray) -> np.ndarray:
    """Least-squares slope of each row per generation, [R]."""
    generations = series_RG.shape[1]
    centred = np.arange(generations) - (generations - 1) / 2
    return np.asarray(series_RG @ centred / (centred @ centred))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): the chance that any of those below a level is false stays below it."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
