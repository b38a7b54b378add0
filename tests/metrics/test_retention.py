from __future__ import annotations

import math

import pytest
from scipy.special import stdtrit

from autophage.metrics.intervals import Estimate
from autophage.metrics.retention import HARMS, HOLDS, NONE, PART, UNJUDGED, front, paired, verdict


def difference(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 3)


def test_differences_are_paired_by_seed() -> None:
    found = paired({1: 0.5, 2: 0.7, 3: 0.9, 4: 0.1}, {1: 0.4, 2: 0.5, 3: 0.6})
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert found.n == 3
    assert found.high - found.value == pytest.approx(stdtrit(2, 0.975) * 0.1 / math.sqrt(3))
    # Unpaired, the seeds' own spread would hide a difference that every seed has.
    steady = paired({1: 0.12, 2: 0.52, 3: 0.925}, {1: 0.1, 2: 0.5, 3: 0.9})
    assert steady is not None
    assert steady.above


def test_one_seed_shows_nothing() -> None:
    found = paired({1: 0.9}, {1: 0.1})
    assert found is not None
    assert math.isnan(found.low)
    assert not found.above
    assert not found.below
    assert verdict([found] * 3, [found] * 3) == NONE
    nothing = Estimate(0.0, math.nan, math.nan, 1)
    assert verdict([nothing] * 3, [nothing] * 3) == NONE
    assert paired({1: 0.9}, {2: 0.1}) is None


def test_seeds_that_agree_have_an_interval_of_no_width() -> None:
    assert paired({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.5}) == Estimate(0.25, 0.25, 0.25, 2)


@pytest.mark.parametrize(
    ("torso", "tail", "both", "lost", "expected"),
    [
        ((0.3, 0.5), (0.15, 0.4), (0.2, 0.4), (0.5, 0.3), HOLDS),
        (
            (0.2, 0.5),
            (0.15, 0.4),
            (0.2, 0.4),
            (0.5, 0.3),
            PART,
        ),  # less than half of what torso lost, for all that is shown
        ((0.3, 0.5), (-0.1, 0.4), (0.2, 0.4), (0.5, 0.3), PART),
        ((-0.1, 0.1), (-0.1, 0.1), (0.01, 0.1), (0.5, 0.3), PART),
        ((-0.1, 0.5), (-0.1, 0.4), (-0.1, 0.4), (0.5, 0.3), NONE),
        ((0.1, 0.2), (-0.2, 0.0), (-0.1, 0.1), (0.5, 0.3), NONE),  # one test a remedy: of the mean
        ((-0.3, -0.1), (-0.2, 0.1), (-0.2, -0.1), (0.5, 0.3), HARMS),
        ((0.3, 0.5), (-0.1, 0.1), (0.1, 0.2), (0.5, -0.01), HOLDS),  # the tail lost nothing, and nothing is lost
        ((0.3, 0.5), (-0.2, -0.1), (0.1, 0.2), (0.5, -0.01), PART),
    ],
)
def test_verdicts(
    torso: tuple[float, float],
    tail: tuple[float, float],
    both: tuple[float, float],
    lost: tuple[float, float],
    expected: str,
) -> None:
    gains = [difference(*torso), difference(*tail), difference(*both)]
    losses = [difference(value - 0.01, value + 0.01) for value in (*lost, sum(lost) / 2)]
    assert verdict(gains, losses) == expected


def test_where_no_loss_is_shown_there_is_nothing_to_hold() -> None:
    gains, unclear = [difference(0.3, 0.5)] * 3, [difference(0.1, 0.2), difference(0.1, 0.2), difference(-0.1, 0.4)]
    assert verdict(gains, unclear) == UNJUDGED
    assert verdict([difference(-0.3, -0.1)] * 3, unclear) == HARMS


def test_without_a_control_nobody_knows_how_much_is_held() -> None:
    assert verdict([difference(0.3, 0.5)] * 3, []) == PART
    assert verdict([difference(-0.3, 0.5)] * 3, []) == NONE


def test_the_front_is_what_no_other_beats() -> None:
    costs, values = [2.0, 1.0, 3.0, 2.0, 1.0], [0.5, 0.3, 0.5, 0.4, 0.1]
    assert front(costs, values) == [1, 0]
    assert front([1.0, 1.0], [0.5, 0.5]) == [0, 1]
    assert front([], []) == []
