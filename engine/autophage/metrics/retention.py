"""Does a remedy hold what the naked loop loses? Paired differences over seeds, and the verdict they allow.

Pure: numbers in. An arm of a remedy and the naked loop with the same seed differ in the remedy alone: the seed decides the
prompts, the human text and the order of the rows, so what it brings cancels in their difference. Its interval is Student's t
over seeds; a single seed has none, and shows nothing. Which metric is judged, and at which generation, is the caller's to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autophage.metrics.intervals import mean_interval

HELD = 0.5
"""Share of what the naked loop loses that a remedy must have kept, by the lower end of its interval, in order to hold it."""

HOLDS, PART, NONE, HARMS, UNJUDGED = (
    "holds torso and tail", "holds part", "no effect shown", "harms", "nothing to hold"
)  # fmt: skip
RULE = (
    "Each remedy beside the naked loop, seed by seed, at the last generation; 95% intervals are Student's t over seeds. "
    f"{HOLDS.capitalize()}: in both buckets the gain is at least {HELD:.0%} of what the naked loop lost beside its control, "
    f"by the lower end of its interval. {PART.capitalize()}: the gain in their mean is above 0. {HARMS.capitalize()}: it is "
    f"below 0. {NONE.capitalize()}: its interval holds 0. {UNJUDGED.capitalize()}: so does that of what the naked loop lost. The "
    "half is this program's own threshold."
)


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its 95% interval; `low` and `high` are nan with fewer than two pairs."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def above(self) -> bool:
        """Whether it is shown to be above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        return self.high < 0


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Ours minus theirs over the seeds that both have; None where there is no such seed."""
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    values = np.array([ours[seed] - theirs[seed] for seed in common])
    low, high = mean_interval(values)
    if len(common) > 1 and np.ptp(values) == 0:
        low = high = float(values[0])
    return Difference(float(values.mean()), low, high, len(common))


def verdict(gains: Sequence[Difference], lost: Sequence[Difference]) -> str:
    """What the buckets and, at the end of both, their mean show. `gains` are over the naked loop; `lost` is what that lost
    beside its control, empty where it has none: then nobody knows how much a gain is of it."""
    *buckets, both = gains
    if both.pairs < 2:  # it has no interval
        return NONE
    if both.below:
        return HARMS
    if lost and lost[-1].pairs > 1 and not lost[-1].above:
        return UNJUDGED
    if lost and all(_held(one, loss.value) for one, loss in zip(buckets, lost[:-1], strict=True)):
        return HOLDS
    return PART if both.above else NONE


def _held(gain: Difference, loss: float) -> bool:
    """Whether enough of `loss` is shown to be kept; of what lost nothing, whether nothing is shown to be lost."""
    return gain.low >= HELD * loss if loss > 0 else not gain.below


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Places of the points that no other beats: none costs at most as much and is worth more, or costs less and as much worth.

    By rising cost (Pareto). Points that are equal in both are both on it.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -values[place]))
    best, cost_of_best = -math.inf, math.nan
    places = []
    for place in order:
        if values[place] > best or (values[place] == best and costs[place] == cost_of_best):
            best, cost_of_best = values[place], costs[place]
            places.append(place)
    return places
