"""Verdict on a remedy, from paired differences over seeds.

A remedy and the naked loop with the same seed differ in the remedy alone. The seed decides the prompts, the human text
and the order of rows. Its effect cancels in the difference. The interval of the difference is Student's t over seeds.
A single seed has no interval and shows nothing. The caller chooses the metric and the generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from autophage.metrics.intervals import Estimate, mean_interval

HELD = 0.5
"""Share of the lost accuracy that the lower bound of a remedy's gain must reach for the verdict `HOLDS`."""

HOLDS, PART, NONE, HARMS, UNJUDGED = (
    "holds torso and tail", "holds part", "no effect shown", "harms", "nothing to hold"
)  # fmt: skip
RULE = (
    "Each remedy is compared with the naked loop, seed by seed, at the last generation that all arms have. 95% intervals are "
    "Student's t over seeds. The gain is the remedy's accuracy minus that of the naked loop. The loss is how far the naked loop "
    f"lies below its control. {HOLDS.capitalize()}: in both buckets the lower bound of the gain is at least {HELD:.0%} of the "
    f"loss. {PART.capitalize()}: the mean gain is above 0. {HARMS.capitalize()}: the mean gain is below 0. "
    f"{NONE.capitalize()}: the interval of the mean gain contains 0. {UNJUDGED.capitalize()}: the interval of the loss "
    f"contains 0. The threshold of {HELD:.0%} is this program's own choice."
)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Return the mean of ours - theirs over the seeds that both have, with Student's 95% interval.

    Both arguments map a seed to a value. `n` counts seeds. Without a common seed the result is None.
    """
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    values = np.array([ours[seed] - theirs[seed] for seed in common])
    low, high = mean_interval(values)
    if len(common) > 1 and np.ptp(values) == 0:
        low = high = float(values[0])
    return Estimate(float(values.mean()), low, high, len(common))


def verdict(gains: Sequence[Estimate], lost: Sequence[Estimate]) -> str:
    """Return the verdict on a remedy: `HOLDS`, `PART`, `NONE`, `HARMS` or `UNJUDGED`.

    A single seed gives `NONE`. Without a control, `HOLDS` and `UNJUDGED` are not possible.

    Args:
        gains: Accuracy of the remedy minus that of the loop without it, for each bucket, then for their mean.
        lost: Accuracy of the control minus that of the loop without remedy, in the same order. Empty without a control.
    """
    *buckets, both = gains
    if both.interval is None:  # a single seed
        return NONE
    if both.below:
        return HARMS
    if lost and lost[-1].interval is not None and not lost[-1].above:
        return UNJUDGED
    if lost and all(_held(one, loss.value) for one, loss in zip(buckets, lost[:-1], strict=True)):
        return HOLDS
    return PART if both.above else NONE


def _held(gain: Estimate, loss: float) -> bool:
    """Return True if the lower bound of a gain reaches `HELD` of the lost accuracy.

    If nothing was lost, return True unless the gain is shown to be negative.
    """
    return gain.low >= HELD * loss if loss > 0 else not gain.below


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the indices of the Pareto front of points with costs and values, by rising cost.

    A point is beaten by one that is worth more at no higher cost. It is also beaten by one of equal worth at a lower
    cost. Points that are equal in both are all on the front.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -values[place]))
    best, cost_of_best = -math.inf, math.nan
    places = []
    for place in order:
        if values[place] > best or (values[place] == best and costs[place] == cost_of_best):
            best, cost_of_best = values[place], costs[place]
            places.append(place)
    return places
