"""Departure of a metric from the control's spread: series with known answers, and the rate of false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autophage.metrics.intervals import Estimate
from autophage.metrics.warning import (
    FALSE,
    EarlyWarning,
    MetricSeries,
    comparison,
    early_warnings,
    ranked,
    scatter,
    significance,
)

NOISE = (0.00, 0.01, -0.01, 0.005, -0.01, 0.01, 0.0, -0.005, 0.01)
"""Noise of a control around its level."""


def series(values: list[float], half: float | None = 0.01) -> MetricSeries:
    return {g: Estimate(v, math.nan if half is None else v - half, math.nan if half is None else v + half)
            for g, v in enumerate(values)}  # fmt: skip


CONTROL = series([0.9 + noise for noise in NOISE])


def alone(arm: MetricSeries, control: MetricSeries) -> EarlyWarning:
    """The verdict on the only metric that is asked."""
    return early_warnings({"m": arm}, {"m": control})[0]


def verdict(values: list[float], half: float | None = 0.01) -> EarlyWarning:
    return alone(series(values, half), CONTROL)


def fallen(start: int, to: float = 0.2) -> list[float]:
    return [0.9 if g < start else to for g in range(len(NOISE))]


def test_what_stays_with_the_control_never_fires() -> None:
    found = verdict([0.9 - noise for noise in NOISE])
    assert (found.generation, found.judged) == (None, True)


@pytest.mark.parametrize("generation", [1, 3, 7])
def test_a_metric_fires_where_it_leaves_for_good(generation: int) -> None:
    found = verdict(fallen(generation))
    assert (found.generation, found.direction) == (generation, -1)
    assert found.margin > 1
    assert verdict(fallen(generation, 1.7)).direction == 1


def test_one_generation_outside_at_the_end_is_not_enough() -> None:
    assert verdict(fallen(8)).generation is None


def test_what_comes_back_has_not_fired() -> None:
    back = [0.9, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert verdict(back).generation is None
    assert verdict([0.9, 0.2, 0.9, 0.2, 0.9, 0.2, 0.9, 0.2, 0.9]).generation is None  # oscillates
    assert verdict([*back[:6], 0.2, 0.2, 0.2]).generation == 6  # left again and stayed
    assert verdict([0.9, 1.7, 1.7, 1.7, 1.7, 0.2, 0.2, 0.2, 0.2]).generation == 5  # crossed to the other side


def test_a_drift_that_the_control_shares_is_no_warning() -> None:
    control = series([0.9 - 0.08 * g + noise for g, noise in enumerate(NOISE)])
    arm = series([0.9 - 0.08 * g - noise for g, noise in enumerate(NOISE)])
    assert alone(arm, control).generation is None


def test_the_band_widens_with_generations() -> None:
    """One distance is outside early and inside later. Early arms have had little time to wander."""
    found = comparison(series([0.9] * 9, None), series([0.9 + noise for noise in NOISE], None))
    assert not isinstance(found, str)
    widths = [found.half_width(generation, 0.05) for generation in range(1, 9)]
    assert widths == pytest.approx([widths[0] * math.sqrt(g) for g in range(1, 9)])


def test_the_band_is_never_narrower_than_the_intervals() -> None:
    found = comparison(series([0.9] * 9, 0.196), series([0.9] * 9, 0.147))
    assert not isinstance(found, str)
    # Errors of 0.1 and 0.075 make one of 0.125; 1.96 of them are 95%.
    assert found.half_width(3, 0.05) == pytest.approx(1.96 * 0.125, rel=1e-3)


def test_the_first_step_is_not_scatter() -> None:
    """Every arm goes from an untouched model to a trained one. That step says nothing about differences of arms."""
    leap = series([0.2, *(0.9 + noise for noise in NOISE[1:])])
    assert scatter([leap]) == scatter([CONTROL])


def test_metrics_that_see_nothing_make_the_others_wait() -> None:
    """All metrics share the level of 5%. A metric that fires takes no share."""
    near = series([0.9, *(0.9 + noise - 0.25 for noise in NOISE[1:])])

    def fires(silent: int, loud: int) -> int | None:
        arm = {
            "m": near,
            **{f"s{n}": CONTROL for n in range(silent)},
            **{f"l{n}": series(fallen(1)) for n in range(loud)},
        }
        found = early_warnings(arm, dict.fromkeys(arm, CONTROL))
        return next(one.generation for one in found if one.metric == "m")

    assert fires(0, 0) is not None
    assert fires(500, 0) is None
    assert fires(500, 500) is not None


def test_the_level_is_that_of_benjamini_and_hochberg() -> None:
    assert significance([0.001, 0.02, 0.04, 0.5]) == pytest.approx(FALSE * 2 / 4)
    assert significance([0.04, 0.045, 0.049, 0.05]) == pytest.approx(FALSE)  # each alone would not do
    assert significance([0.04, 0.9]) == 0.0
    assert significance([]) == 0.0


@pytest.mark.parametrize(
    ("arm", "control", "reason"),
    [
        (fallen(1), [], "no control"),
        (fallen(1)[:3], [0.9, 0.8, 0.9], "too few generations"),
        (fallen(1)[:1], [0.9], "too few generations"),
        (fallen(1)[:1], CONTROL, "too few generations"),
        ([math.nan] * 9, [0.9] * 9, "too few generations"),
    ],
)
def test_what_cannot_be_judged_says_why(arm: list[float], control: list[float] | MetricSeries, reason: str) -> None:
    control = series(control) if isinstance(control, list) else control
    assert alone(series(arm), control) == EarlyWarning("m", reason=reason)


def test_without_steps_or_intervals_there_is_no_spread() -> None:
    constant = series([0.9] * 9, None)
    assert alone(series(fallen(1), None), constant).reason == "no spread"
    assert alone(series(fallen(2)), constant).generation == 2  # intervals are enough


def test_intervals_that_are_not_there_leave_the_steps() -> None:
    arm = {g: Estimate(value, math.nan, math.nan) for g, value in enumerate(fallen(3))}
    assert alone(arm, CONTROL).generation == 3


def test_no_control_arm_at_all() -> None:
    assert early_warnings({"a": CONTROL, "b": CONTROL}, None) == [
        EarlyWarning("a", reason="no control"),
        EarlyWarning("b", reason="no control"),
    ]


def test_the_earliest_comes_first() -> None:
    arm = {"late": series(fallen(5)), "never": CONTROL, "early": series(fallen(1)), "new": series(fallen(1))}
    control = dict.fromkeys(("late", "never", "early"), CONTROL)
    found = early_warnings(arm, control)
    assert [one.metric for one in found] == ["early", "late", "never", "new"]
    assert [one.generation for one in found] == [1, 5, None, None]
    assert found[-1].reason == "no control"


def test_ranks_are_means_over_arms_and_seeds() -> None:
    arms = {
        "seed-1": [
            EarlyWarning("a", 1, -1, 2.0),
            EarlyWarning("b", 2, -1, 9.0),
            EarlyWarning("c"),
            EarlyWarning("d", 2, 1, 3.0),
        ],
        "seed-2": [
            EarlyWarning("a", 5, -1, 2.0),
            EarlyWarning("b", 2, -1, 9.0),
            EarlyWarning("c"),
            EarlyWarning("d", reason="no spread"),
        ],
    }
    assert ranked(arms, last=6) == ["b", "d", "a", "c"]
    assert ranked({}, last=6) == []


def test_the_scatter_of_a_step_does_not_depend_on_how_often_is_measured() -> None:
    walk = 0.9 + np.random.default_rng(0).normal(0.01, 0.02, 2001).cumsum()
    every = {g: Estimate(float(walk[g]), math.nan, math.nan, 1) for g in range(2001)}
    fifth = {g: one for g, one in every.items() if g % 5 == 0 or g == 1998}
    assert scatter([every])[0] == pytest.approx(0.02, rel=0.05)
    assert scatter([fifth])[0] == pytest.approx(0.02, rel=0.15)


def test_more_controls_tell_more_of_the_scatter() -> None:
    twin = series([0.9 - noise for noise in NOISE])
    spread, degrees = scatter([CONTROL, twin])
    assert degrees == 2 * scatter([CONTROL])[1]
    assert spread == pytest.approx(scatter([CONTROL])[0])
    assert scatter([series([0.9, 0.8])]) == (0.0, 0)


@pytest.mark.parametrize("wandering", [True, False], ids=["steps add up", "errors do not"])
@pytest.mark.parametrize("generations", [3, 5, 20])
def test_where_nothing_is_the_matter_something_fires_in_5_runs_of_100(wandering: bool, generations: int) -> None:
    runs = 200
    alarms = sum(fired(generations, wandering, run, shifted=0)[0] > 0 for run in range(runs))
    assert alarms / runs <= FALSE + 0.03  # two standard errors of 200 runs


def test_5_in_100_of_what_fires_are_false_alarms() -> None:
    shares, missed = [], 0
    for run in range(200):
        false, true = fired(6, True, run, shifted=15)
        shares.append(false / max(1, false + true))
        missed += 15 - true
    assert np.mean(shares) <= FALSE
    assert missed / (200 * 15) < 0.2, "the band is so wide that it sees nothing"


def fired(generations: int, wandering: bool, seed: int, shifted: int) -> tuple[int, int]:
    """False and true alarms among 30 metrics of an arm. Only the first `shifted` metrics differ from a control."""
    rng = np.random.default_rng([generations, seed])

    def arm(shift: float) -> dict[str, MetricSeries]:
        noise = rng.normal(size=(30, generations + 1))
        values = noise.cumsum(axis=1) if wandering else noise
        values[:shifted] += shift * np.arange(generations + 1)
        return {str(m): {g: Estimate(float(v)) for g, v in enumerate(row)} for m, row in enumerate(values)}

    found = [int(one.metric) for one in early_warnings(arm(12.0), arm(0.0)) if one.generation is not None]
    return sum(metric >= shifted for metric in found), sum(metric < shifted for metric in found)
