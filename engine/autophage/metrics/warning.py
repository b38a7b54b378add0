"""Early warning: the generation at which a metric leaves the control arm's spread for good.

The control takes the same steps on human text, so its changes are the changes of training itself. For g >= 1, d_g is
the arm's value minus the control's at generation g. Suppose the arm were another control. Both would have wandered
from the same model 0 in g independent steps. The scatter s of those steps is that of the control's own steps about
their mean. Both values would carry a measurement error, se = (high - low) / (2 * 1.96). The prediction band of d_g
therefore has the half-width

    h_g = max( t * s * sqrt(2 g),  z * sqrt(se_arm^2 + se_control^2) )

with t and z the two-sided quantiles of Student's t, with the degrees of freedom of s, and of the normal distribution
at a level q. A step over several generations, where fewer were measured, counts as that many independent ones. The step
from model 0 to model 1 does not count for s. Every arm takes that step, from an untouched model
to a trained one, and it is larger than the others. Measurement errors that do not add up stay inside as well.
Independent errors of size e give s = e * sqrt(2), twice the variance of d_g at g = 1.

A metric *fires* at the first g from which it stays outside on one side. It must stay outside at every generation that
both arms have, and at least at `STAY` of them. A metric that leaves the band and comes back has not fired. A metric
that fires is outside at the last generation. Therefore q bounds false alarms for any number of generations. q is the
level of Benjamini and Hochberg (1995) for M metrics at their last generation: `FALSE` * k / M for the largest k that
leaves k metrics outside. In expectation at most `FALSE` of the warnings are false alarms. This also holds for metrics
that depend positively on one another (Benjamini & Yekutieli 2001). If the arm does not differ from the control, the
chance of any warning is at most `FALSE`.

A metric is not judged without a control, with too few generations to estimate the scatter, or if neither steps nor
intervals have a spread. `reason` then names the cause. The functions are pure and know no files, arms or reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autophage.metrics.intervals import Estimate

FALSE = 0.05
"""Largest expected share of false alarms among the early warnings of an arm."""
STAY = 2
"""Fewest generations that a metric must lie outside the control's band to give a warning. The last is one of them.

A single one may be an accident of its samples.
"""


MetricSeries = Mapping[int, Estimate]
"""Generation -> estimate of one metric. A value that is not finite counts as not measured."""


@dataclass(frozen=True)
class EarlyWarning:
    """Early warning by one metric in one arm.

    `generation` is the one at which the metric leaves the control's band for good, None if it never does. `direction`
    is +1 above the control, -1 below it, and 0 without a warning. `margin` is the distance from the control at that
    generation over the band's half-width. `reason` says why a metric was not judged. It is empty for a metric that was.
    """

    metric: str
    generation: int | None = None
    direction: int = 0
    margin: float = 0.0
    reason: str = ""

    @property
    def judged(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class ControlComparison:
    """A metric of an arm compared with the control's, at the generations after 0 that both have.

    `differences` maps a generation to arm minus control. `errors` maps it to the standard error of that difference.
    `scatter` is the standard deviation of the control's step between generations, with `degrees` of freedom.
    """

    differences: dict[int, float]
    errors: dict[int, float]
    scatter: float
    degrees: int

    def p_value(self) -> float:
        """Return the two-sided p-value of the difference from the control at the last generation.

        It is the larger of two: by the scatter of the control's steps, and by the measured intervals.
        """
        from scipy.special import stdtr  # slow to import

        last = max(self.differences)
        distance = abs(self.differences[last])
        wander, error = self.scatter * math.sqrt(2 * last), self.errors[last]
        by_steps = 2 * float(stdtr(self.degrees, -distance / wander)) if wander else 0.0
        by_error = 2 * (1 - NormalDist().cdf(distance / error)) if error else 0.0
        return max(by_steps, by_error)

    def half_width(self, generation: int, level: float) -> float:
        """Return half the width of the prediction band at `generation`, in units of the metric.

        `level` is the two-sided level of significance.
        """
        from scipy.special import stdtrit

        t, z = float(stdtrit(self.degrees, 1 - level / 2)), NormalDist().inv_cdf(1 - level / 2)
        return max(t * self.scatter * math.sqrt(2 * generation), z * self.errors[generation])


def early_warnings(
    arm: Mapping[str, MetricSeries],
    control: Mapping[str, MetricSeries] | None,
    siblings: Sequence[Mapping[str, MetricSeries]] = (),
) -> list[EarlyWarning]:
    """Find the generation at which each metric of an arm leaves the control's prediction band for good.

    The arguments map a metric's name to its series. Without a control no metric is judged. Earlier warnings come first.
    Metrics that were not judged come last. `siblings` are further controls that differ from `control` in their seed
    alone. Their steps add to the estimate of the scatter.
    """
    comparisons: dict[str, ControlComparison] = {}
    warnings = []
    for metric, series in arm.items():
        own = {} if control is None else control.get(metric, {})
        found = comparison(series, own, [sibling.get(metric, {}) for sibling in siblings])
        if isinstance(found, str):
            warnings.append(EarlyWarning(metric, reason=found))
        else:
            comparisons[metric] = found
    level = significance([one.p_value() for one in comparisons.values()])
    warnings += [warning(metric, one, level) for metric, one in comparisons.items()]
    return sorted(warnings, key=_place)


def comparison(
    arm: MetricSeries, control: MetricSeries, siblings: Sequence[MetricSeries] = ()
) -> ControlComparison | str:
    """Compare one metric of an arm with that of its control.

    `siblings` are the series of further controls, for the scatter alone. If a comparison is impossible, the result is
    the reason as a string.
    """
    arm, control = _finite(arm), _finite(control)
    if not control:
        return "no control"
    common = sorted(generation for generation in arm.keys() & control.keys() if generation > 0)
    spread, degrees = scatter([control, *map(_finite, siblings)])
    if len(common) < STAY or not degrees:
        return "too few generations"
    errors = {g: math.hypot(arm[g].error, control[g].error) for g in common}
    if spread == 0 and min(errors.values()) == 0:
        return "no spread"
    return ControlComparison({g: arm[g].value - control[g].value for g in common}, errors, spread, degrees)


def scatter(controls: Sequence[MetricSeries]) -> tuple[float, int]:
    """Return the standard deviation of the controls' steps between generations, and its degrees of freedom.

    Only steps after generation 0 count. Deviations are from each control's mean step. A step over d generations has d times
    the mean and the variance of one. The result is (0, 0) if no control has two such steps.
    """
    squares, degrees = 0.0, 0
    for series in controls:
        measured = [generation for generation in sorted(series) if generation > 0]
        steps = np.diff([series[generation].value for generation in measured])
        lengths = np.diff(measured)
        if steps.size > 1:
            squares += float(((steps - lengths * steps.sum() / lengths.sum()) ** 2 / lengths).sum())
            degrees += steps.size - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (0.0, 0)


def significance(p_values: Sequence[float]) -> float:
    """Return the significance level of Benjamini and Hochberg for M p-values.

    It is `FALSE` * k / M for the largest k with k p-values at or below it. Without such a k it is 0.
    """
    asked = len(p_values)
    reached = [k for k, p_value in enumerate(sorted(p_values), start=1) if p_value <= FALSE * k / asked]
    return FALSE * reached[-1] / asked if reached else 0.0


def warning(metric: str, found: ControlComparison, level: float) -> EarlyWarning:
    """Find the generation at which a metric leaves the control's band for good, at a `level` of significance.

    At level 0 no metric leaves it.
    """
    first: tuple[int, int, float] | None = None
    stayed = 0
    for generation in sorted(found.differences, reverse=True) if level > 0 else ():
        difference, half = found.differences[generation], found.half_width(generation, level)
        side = 1 if difference > 0 else -1
        if abs(difference) <= half or (first and side != first[1]):
            break
        first, stayed = (generation, side, abs(difference) / half), stayed + 1
    return EarlyWarning(metric, *first) if first and stayed >= STAY else EarlyWarning(metric)


def ranked(arms: Mapping[str, Sequence[EarlyWarning]], last: int) -> list[str]:
    """Return the metrics that some arm judged, by the mean generation of their warnings over those arms.

    `arms` maps an arm to its warnings. A metric that never warns counts as the generation after `last`. Ties are
    ordered by the wider mean margin, then by name.
    """
    by_metric: dict[str, list[EarlyWarning]] = {}
    for warnings in arms.values():
        for one in warnings:
            if one.judged:
                by_metric.setdefault(one.metric, []).append(one)

    def place(metric: str) -> tuple[float, float, str]:
        found = by_metric[metric]
        return (
            _mean(last + 1 if one.generation is None else one.generation for one in found),
            -_mean(one.margin for one in found),
            metric,
        )

    return sorted(by_metric, key=place)


def _place(warning: EarlyWarning) -> tuple[bool, float, float, str]:
    generation = math.inf if warning.generation is None else warning.generation
    return not warning.judged, generation, -warning.margin, warning.metric


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _finite(series: MetricSeries) -> dict[int, Estimate]:
    return {generation: one for generation, one in series.items() if math.isfinite(one.value)}
