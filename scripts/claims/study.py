"""A finished run with seeds pooled, intervals over seeds, and verdicts on claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from autophage.metrics.intervals import mean_interval
from autophage.report.facts.load import RunFacts
from autophage.report.facts.series import Point
from autophage.store.rundir import RunDirectory

CURSE = "2305.17493"
"""arXiv identifier of *The Curse of Recursion*."""


@dataclass(frozen=True)
class Judged:
    """A judged claim, with the paper's number and ours.

    The verdict is `reproduced`, `contradicted` or `not at this scale`.
    """

    paper: str
    claim: str
    theirs: str
    ours: str
    verdict: str


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def verdict(self, positive: bool) -> str:
        """Verdict on the claim that the value is positive, or negative."""
        above, below = self.low > 0, self.high < 0
        if above if positive else below:
            return "reproduced"
        return "contradicted" if above or below else "not at this scale"

    def points(self) -> str:
        """A share, as text in percentage points."""
        return f"{100 * self.value:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def growth(self) -> str:
        """A difference of cross-entropies in nats, as text in percent of the perplexity."""
        value, low, high = (100 * math.expm1(one) for one in (self.value, self.low, self.high))
        return f"{value:+,.1f}% ({low:+,.1f} to {high:+,.1f})"

    def digits(self) -> str:
        """Text with three significant digits."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Study:
    """A finished run.

    `facts` holds every seed. `shown` holds the arms with seeds pooled. `groups` names the arms behind each pooled one.
    """

    run: RunDirectory
    facts: RunFacts
    shown: RunFacts
    groups: dict[str, list[str]]

    def ends(self, arm: str, metric: str) -> list[tuple[float, float]]:
        """The metric at generation 0 and at the last generation, for each seed."""
        pairs = (self.facts.metrics.ends(name, metric) for name in self.groups.get(arm, [arm]))
        return [(pair[0].value, pair[1].value) for pair in pairs if pair is not None]

    def change(self, arm: str, metric: str) -> list[float]:
        """Change of the metric from generation 0 to the last, for each seed."""
        return [end - start for start, end in self.ends(arm, metric)]

    def growth(self, arm: str, metric: str) -> list[float]:
        """Change of a perplexity's logarithm from generation 0 to the last, for each seed.

        Seeds are averaged in the logarithm, which is the cross-entropy in nats.
        """
        return [math.log(end / start) for start, end in self.ends(arm, metric)]

    def first(self, arm: str, metric: str) -> Interval:
        """The metric at generation 0, seeds pooled."""
        return _interval(self.shown.metrics.at(arm, metric, 0))

    def last(self, arm: str, metric: str) -> Interval:
        """The metric at the last generation, seeds pooled."""
        return _interval(self.shown.metrics.last(arm, metric))

    def agrees(self, arm: str, name: str) -> bool:
        """True if the closed form lies within the interval of the measured value."""
        measured, theory = self.last(arm, f"learner/{name}"), self.last(arm, f"theory/{name}")
        return measured.low <= theory.value <= measured.high


def _interval(point: Point | None) -> Interval:
    """Both bounds are the value if the point has no interval."""
    assert point is not None
    low, high = (point.value, point.value) if point.interval is None else point.interval
    return Interval(point.value, low, high)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean with Student's t interval. The interval of a single seed is unbounded."""
    low, high = mean_interval(np.array(values)) if len(values) > 1 else (-math.inf, math.inf)
    return Interval(fmean(values), low, high)


def beside(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Difference of two arms, paired by seed."""
    return over_seeds([one - other for one, other in zip(first, second, strict=True)])


def beside_control(study: Study, arm: str, metric: str) -> list[float]:
    """Change of the metric less that of the arm's control, for each seed."""
    control = study.shown.control_of(next(one for one in study.shown.arms if one.name == arm))
    assert control is not None
    return [a - b for a, b in zip(study.change(arm, metric), study.change(control.name, metric), strict=True)]
