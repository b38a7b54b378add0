"""Early warning: the generation at which a metric leaves the spread of the control arm for good.

The control takes the same steps on human text, so what it does is what training does. At generation g >= 1 let d_g be an
arm's value minus the control's at the same generation. Were the arm another control, both would have wandered from the
same model 0 by g independent steps, each with the scatter s of the control's own generation-to-generation steps about
their mean, and both values would carry the error of their measurement, se = (high - low) / (2 * 1.96). So the
prediction band around the control has the half-width

    h_g = max( t * s * sqrt(2 g),  z * sqrt(se_arm^2 + se_control^2) )

with the quantiles at 1 - ALARMS / (2 M) of Student's t (as many degrees of freedom as s has) and of the normal
distribution, M being the number of metrics that are asked (Bonferroni). Steps that wander and errors that do not both
stay inside: independent errors of size e give s = e * sqrt(2), twice the variance that d_g then has at g = 1.

A metric *fires* at the first g from which it is outside on one side at every generation that both arms have, at least
`STAY` of them. What fires is therefore outside at the last generation, so the chance that any of the M metrics fires
in an arm that is another control is at most `ALARMS`, however many generations there are and although metrics are
correlated. A metric that leaves the band and comes back has not fired.

A metric is not judged (`reason` says why) without a control, with fewer than `STAY` common generations after 0, or where
neither steps nor intervals give a spread. Pure functions of numbers; knows no files, arms or reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autophage.metrics.intervals import Z, student_t

ALARMS = 0.05
"""Largest chance of any false alarm among all metrics of an arm."""
STAY = 2
"""Generations that a metric must be outside, up to the last: one may be an accident of its samples."""


@dataclass(frozen=True)
class Measured:
    """A metric at one generation; `low` and `high` bound its 95% interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def error(self) -> float:
        """Standard error by the interval's width; 0 where there is none."""
        if self.low is None or self.high is None or not math.isfinite(self.high - self.low):
            return 0.0
        return abs(self.high - self.low) / (2 * Z)


Series = Mapping[int, Measured]
"""Generation -> value. A value that is not finite counts as not measured."""


@dataclass(frozen=True)
class Verdict:
    """`generation` is where the metric fired, None where it never did; `reason` is why it was not judged, else empty.

    `direction` is +1 or -1 for above or below the control; `margin` is the distance from the control at that generation
    over the band's half-width.
    """

    metric: str
    generation: int | None = None
    direction: int = 0
    margin: float = 0.0
    reason: str = ""

    @property
    def judged(self) -> bool:
        return not self.reason


def early_warnings(
    arm: Mapping[str, Series], control: Mapping[str, Series] | None, twins: Sequence[Mapping[str, Series]] = ()
) -> list[Verdict]:
    """A verdict for every metric of `arm`, earliest first (`ranked`).

    `twins` are further controls that differ from `control` in their seed alone: their steps tell more of the scatter.
    """
    if control is None:
        return [Verdict(metric, reason="no control") for metric in sorted(arm)]
    asked = len(arm)
    verdicts = [
        judge(metric, series, control.get(metric, {}), [twin.get(metric, {}) for twin in twins], asked)
        for metric, series in arm.items()
    ]
    return sorted(verdicts, key=_place)


def judge(metric: str, arm: Series, control: Series, twins: Sequence[Series], asked: int) -> Verdict:
    """Whether and when `arm` leaves the band around `control`, as one of `asked` metrics."""
    arm, control = _finite(arm), _finite(control)
    common = sorted(generation for generation in arm.keys() & control.keys() if generation > 0)
    if len(common) < STAY:
        return Verdict(metric, reason="no control" if not control else "too few generations")
    spread, degrees = scatter([control, *map(_finite, twins)])
    tail = 1 - ALARMS / (2 * max(1, asked))
    t, z = student_t(tail, degrees) if degrees else 0.0, NormalDist().inv_cdf(tail)
    outside: list[tuple[int, int, float]] = []
    for generation in reversed(common):
        one, other = arm[generation], control[generation]
        half = max(t * spread * math.sqrt(2 * generation), z * math.hypot(one.error, other.error))
        if half == 0:
            return Verdict(metric, reason="no spread")
        distance = one.value - other.value
        side = 1 if distance > 0 else -1
        if abs(distance) <= half or (outside and side != outside[-1][1]):
            break
        outside.append((generation, side, abs(distance) / half))
    if len(outside) < STAY:
        return Verdict(metric)
    return Verdict(metric, *outside[-1])


def scatter(controls: Sequence[Series]) -> tuple[float, int]:
    """Standard deviation of steps from one generation to the next about each control's mean step, and its degrees of freedom.

    (0, 0) where no control has two steps.
    """
    squares, degrees = 0.0, 0
    for series in controls:
        steps = np.array([series[g + 1].value - series[g].value for g in sorted(series) if g + 1 in series])
        if steps.size > 1:
            squares += float(((steps - steps.mean()) ** 2).sum())
            degrees += steps.size - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (0.0, 0)


def ranked(arms: Mapping[str, Sequence[Verdict]], last: int) -> list[str]:
    """The metrics that some arm judged, by how early they fire in the mean over those arms.

    Never counts as the generation after `last`; among equals the wider margin is first, then the name.
    """
    by_metric: dict[str, list[Verdict]] = {}
    for verdicts in arms.values():
        for verdict in verdicts:
            if verdict.judged:
                by_metric.setdefault(verdict.metric, []).append(verdict)

    def place(metric: str) -> tuple[float, float, str]:
        found = by_metric[metric]
        return (
            _mean(last + 1 if one.generation is None else one.generation for one in found),
            -_mean(one.margin for one in found),
            metric,
        )

    return sorted(by_metric, key=place)


def _place(verdict: Verdict) -> tuple[bool, float, float, str]:
    generation = math.inf if verdict.generation is None else verdict.generation
    return not verdict.judged, generation, -verdict.margin, verdict.metric


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _finite(series: Series) -> dict[int, Measured]:
    return {generation: one for generation, one in series.items() if math.isfinite(one.value)}
