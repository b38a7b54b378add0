"""Pairing by seed, and intervals of differences."""

from __future__ import annotations

import math

import pytest
from tests.present import present
from tests.report.comparison.conftest import MakeNamed

from autophage.errors import UserError
from autophage.metrics.intervals import Estimate, difference
from autophage.report.comparison.differences import INDEPENDENT, PAIRED, differences
from autophage.report.comparison.gather import compare
from autophage.report.comparison.reading import Committed, ComparedArm, ComparedRun
from autophage.report.comparison.words import change_shown, interval_shown
from autophage.report.facts.series import Metrics
from autophage.store.rundir import RunDirectory

ENTROPY = "onpolicy/entropy"


def run_of(letter: str, values: dict[int, float], half: float = 0.1) -> ComparedRun:
    """A run of one generation with one arm for each seed, and its value of a metric."""
    rows = [
        {"arm": f"seed-{seed}", "generation": 0, "metric": ENTROPY, "value": value, "low": value - half,
         "high": value + half, "n": 10}
        for seed, value in values.items()
    ]  # fmt: skip
    committed = [Committed(0, {}, "", "")]
    arms = [ComparedArm(f"seed-{seed}", "main", False, seed, committed) for seed in values]
    return ComparedRun(letter, RunDirectory(letter), None, {}, arms, Metrics(rows), rows, {}, False, [])


def test_common_seeds_are_paired() -> None:
    (one,) = differences(run_of("A", {1: 1.0, 2: 2.0, 3: 3.0}), run_of("B", {1: 1.3, 2: 2.1, 3: 3.2}), "main", 0)
    assert one.pairing == PAIRED
    assert one.found.n == 3
    assert one.found.value == pytest.approx(0.2)
    reach = 4.302653 * 0.1 / math.sqrt(3)  # Student's t with 2 degrees of freedom; the differences spread by 0.1
    assert present(one.found.interval) == pytest.approx((0.2 - reach, 0.2 + reach))
    assert not one.differs


def test_only_common_seeds_count_in_values_too() -> None:
    (one,) = differences(run_of("A", {1: 1.0, 2: 2.0, 9: 50.0}), run_of("B", {1: 1.5, 2: 2.5, 8: 70.0}), "main", 0)
    assert (one.theirs.value, one.ours.value, one.found.value) == (1.5, 2.0, 0.5)
    assert one.found.interval == (0.5, 0.5)
    assert one.differs


@pytest.mark.parametrize("seed", [1, 2])
def test_a_single_seed_is_not_paired(seed: int) -> None:
    (one,) = differences(run_of("A", {1: 1.0}), run_of("B", {seed: 1.2}), "main", 0)
    assert one.pairing == INDEPENDENT
    assert present(one.found.interval) == pytest.approx((0.2 - math.hypot(0.1, 0.1), 0.2 + math.hypot(0.1, 0.1)))


def test_intervals_of_unequal_sides_add_towards_the_bound() -> None:
    found = difference(Estimate(5.0, 4.0, 8.0, 20), Estimate(1.0, 0.5, 1.25, 12))
    assert (found.value, found.n) == (4.0, 12)
    assert (found.low, found.high) == pytest.approx((4 - math.hypot(1.0, 0.25), 4 + math.hypot(3.0, 0.5)))
    assert difference(Estimate(5.0), Estimate(1.0, 0.5, 1.5)).interval is None


def test_the_interval_covers_the_difference_as_often_as_it_says() -> None:
    import numpy as np

    from autophage.metrics.intervals import wilson

    rng, n, trials = np.random.default_rng(7), 60, 2000
    covered = 0
    for first, second in zip(rng.binomial(n, 0.9, trials), rng.binomial(n, 0.6, trials), strict=True):
        one, two = (Estimate(count / n, *wilson(float(count), n)) for count in (first, second))
        found = difference(one, two)
        covered += found.low <= 0.3 <= found.high
    assert 0.935 < covered / trials < 0.975


def test_an_unfinished_run_is_compared_as_far_as_it_goes(make_named: MakeNamed, half: str) -> None:
    first, other = make_named("a"), make_named("b", recipe=half, reached={"main": 1})
    shown = {one.arm: one.generation for one in compare([first, other]).differences}
    assert shown == {"main": 1, "control": 2}
    assert {one.generation for one in compare([first, other], 0).differences} == {0}
    with pytest.raises(UserError, match=r"--generation 2: .* in arm main\. Both have 0 to 1"):
        compare([first, other], 2)


def test_a_slower_collapse_is_a_difference_beyond_its_interval(make_named: MakeNamed, half: str) -> None:
    compared = compare([make_named("a", generations=5), make_named("b", generations=5, recipe=half)])
    found = {one.metric: one for one in next(one for one in compared.differences if one.arm == "main").metrics}
    assert found["knowledge/accuracy.torso"].found.above
    assert found["knowledge/accuracy.torso"].found.value > 0.15
    control = next(one for one in compared.differences if one.arm == "control")
    assert not any(one.differs for one in control.metrics)
    assert [row.key for row in compared.settings] == ["mix.alpha"]


def test_differences_in_words() -> None:
    assert change_shown("knowledge/accuracy", -0.0314) == "-3.1 pt"
    assert change_shown("knowledge/accuracy", 0.0) == "0.0 pt"
    assert change_shown("knowledge/accuracy", -0.0004) == "0.0 pt"
    assert change_shown(ENTROPY, 0.123) == "+0.12"
    assert interval_shown("knowledge/accuracy", Estimate(0.0, -0.031, 0.004)) == "[-3.1, +0.4]"
    assert interval_shown(ENTROPY, Estimate(0.0)) == ""
