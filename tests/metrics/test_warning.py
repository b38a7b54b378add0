"""When a metric leaves the control's spread: made-up series with known answers, and the bound on false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autophage.metrics.warning import ALARMS, Measured, Series, Verdict, early_warnings, judge, ranked, scatter

NOISE = (0.00, 0.01, -0.01, 0.005, -0.01, 0.01, 0.0, -0.005, 0.01)
"""What a control does around its level."""


def series(values: list[float], half: float | None = 0.01) -> Series:
    return {g: Measured(v, None if half is None else v - half, None if half is None else v + half)
            for g, v in enumerate(values)}  # fmt: skip


CONTROL = series([0.9 + noise for noise in NOISE])


def verdict(values: list[float], half: float | None = 0.01, asked: int = 10) -> Verdict:
    return judge("m", series(values, half), CONTROL, [], asked)


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
    assert judge("m", arm, control, [], 10).generation is None


def test_the_band_widens_with_generations() -> None:
    """The same distance is outside early, when arms have had little time to wander, and inside later."""
    control = series([0.9 + noise for noise in NOISE], None)
    spread, degrees = scatter([control])
    assert degrees == 7
    step = spread * 12.0
    early = judge("m", {g: Measured(0.9 + NOISE[g] + step) for g in (1, 2)}, control, [], 10)
    late = judge("m", {g: Measured(0.9 + NOISE[g] + step) for g in (7, 8)}, control, [], 10)
    assert early.generation == 1
    assert late.generation is None


def test_more_metrics_make_a_wider_band() -> None:
    near = [value - 0.3 for value in (0.9 + noise for noise in NOISE)]
    assert verdict([0.9, *near[1:]], asked=1).generation is not None
    assert verdict([0.9, *near[1:]], asked=10_000).generation is None


@pytest.mark.parametrize(
    ("arm", "control", "reason"),
    [
        (fallen(1), [], "no control"),
        (fallen(1)[:2], [0.9] * 2, "too few generations"),
        (fallen(1)[:1], [0.9], "too few generations"),
        ([math.nan] * 9, [0.9] * 9, "too few generations"),
    ],
)
def test_what_cannot_be_judged_says_why(arm: list[float], control: list[float], reason: str) -> None:
    assert judge("m", series(arm), series(control), [], 5) == Verdict("m", reason=reason)


def test_without_steps_or_intervals_there_is_no_spread() -> None:
    constant = series([0.9] * 9, None)
    assert judge("m", series(fallen(1), None), constant, [], 5).reason == "no spread"
    assert judge("m", series(fallen(2)), constant, [], 5).generation == 2  # intervals are enough


def test_intervals_that_are_not_there_leave_the_steps() -> None:
    arm = {g: Measured(value, math.nan, math.nan) for g, value in enumerate(fallen(3))}
    assert judge("m", arm, CONTROL, [], 10).generation == 3


def test_no_control_arm_at_all() -> None:
    assert early_warnings({"a": CONTROL, "b": CONTROL}, None) == [
        Verdict("a", reason="no control"),
        Verdict("b", reason="no control"),
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
        "seed-1": [Verdict("a", 1, -1, 2.0), Verdict("b", 2, -1, 9.0), Verdict("c"), Verdict("d", 2, 1, 3.0)],
        "seed-2": [Verdict("a", 5, -1, 2.0), Verdict("b", 2, -1, 9.0), Verdict("c"), Verdict("d", reason="no spread")],
    }
    assert ranked(arms, last=6) == ["b", "d", "a", "c"]
    assert ranked({}, last=6) == []


def test_more_controls_tell_more_of_the_scatter() -> None:
    twin = series([0.9 - noise for noise in NOISE])
    spread, degrees = scatter([CONTROL, twin])
    assert degrees == 2 * scatter([CONTROL])[1]
    assert spread == pytest.approx(scatter([CONTROL])[0])
    assert scatter([series([0.9, 0.8])]) == (0.0, 0)


@pytest.mark.parametrize("wandering", [True, False], ids=["steps add up", "errors do not"])
@pytest.mark.parametrize("generations", [3, 5, 20])
def test_false_alarms_are_bounded_over_all_metrics(wandering: bool, generations: int) -> None:
    """Arms that are further controls: in at most 5 runs of 100 does any of 30 metrics fire."""
    rng = np.random.default_rng(generations)
    runs, metrics, alarms = 200, 30, 0

    def arm() -> dict[str, Series]:
        noise = rng.normal(size=(metrics, generations + 1))
        values = 0.1 * noise.cumsum(axis=1) if wandering else noise
        return {f"m{m}": {g: Measured(float(v)) for g, v in enumerate(row)} for m, row in enumerate(values)}

    for _ in range(runs):
        alarms += any(one.generation is not None for one in early_warnings(arm(), arm()))
    assert alarms / runs <= ALARMS + 0.03  # two standard errors of 200 runs
