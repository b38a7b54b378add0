"""Courses whose stages are known, because they were drawn from known accuracies."""

from __future__ import annotations

import numpy as np
import pytest

from autophage.metrics.collapse import Answers, change_point, course
from autophage.metrics.resampling import Resampling

QUESTIONS = 300
KEPT = [0.85] * 8


def answers(
    accuracy: list[float],
    compliance: float | list[float] = 0.95,
    fluency: list[float] | None = None,
    generations: list[int] | None = None,
) -> Answers:
    rng = np.random.default_rng(len(accuracy))
    shape = (3, len(accuracy), QUESTIONS)
    right = (rng.random(shape) < np.array(accuracy)[None, :, None]).astype(float)
    complies = (rng.random(shape) < np.broadcast_to(compliance, len(accuracy))[None, :, None]).astype(float)
    measured = generations or range(len(accuracy))
    return Answers(right, complies, np.tile(fluency or [1.2] * len(accuracy), (3, 1)), measured)


def test_a_fall_of_a_fluent_model_is_stage_b_with_an_onset() -> None:
    found = course(answers([0.9, 0.88, 0.87, 0.55, 0.5, 0.5, 0.48, 0.5]), answers(KEPT), Resampling(QUESTIONS, 0, 300))
    assert found.labels == "AAABBBBB"
    assert (found.collapse.generation, found.collapse.low, found.collapse.high) == (3, 3, 3)
    assert found.collapse.shown
    assert found.loss_of_form.generation is None
    assert found.loss_of_form.share == 0.0
    assert found.slope.high < 0
    assert found.drop.low > 0.3


def test_an_onset_is_a_measured_generation() -> None:
    every = [0, 5, 10, 15, 20, 25, 30, 33]
    fallen = [0.9, 0.88, 0.87, 0.55, 0.5, 0.5, 0.21, 0.2]
    all_of_them, some = (
        course(answers(fallen, generations=measured), answers(KEPT), Resampling(QUESTIONS, 0, 300))
        for measured in (None, every)
    )
    assert some.labels == all_of_them.labels
    assert (some.collapse.generation, some.loss_of_form.generation) == (15, 30)
    assert some.slope.value == pytest.approx(all_of_them.slope.value / 5, rel=0.1)


def test_a_control_stays_in_stage_a() -> None:
    found = course(answers(KEPT), None, Resampling(QUESTIONS, 0, 300))
    assert found.labels == "A" * 8
    assert not found.collapse.shown
    assert found.collapse.generation is None


def test_a_fall_that_the_control_shares_is_none() -> None:
    falling = [0.9, 0.88, 0.87, 0.55, 0.5, 0.5, 0.48, 0.5]
    found = course(answers(falling), answers(falling), Resampling(QUESTIONS, 0, 300))
    assert found.labels == "A" * 8
    assert found.drop.low <= 0 <= found.drop.high


def test_chance_is_stage_c_from_where_it_stays() -> None:
    found = course(answers([0.9, 0.88, 0.6, 0.55, 0.5, 0.22, 0.2, 0.21]), answers(KEPT), Resampling(QUESTIONS, 0, 300))
    assert found.labels[-3:] == "CCC"
    assert found.loss_of_form.generation == 5
    assert found.loss_of_form.shown
    recovered = course(answers([0.9, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]), answers(KEPT), Resampling(QUESTIONS, 0, 300))
    assert "C" not in recovered.labels


def test_lost_form_is_stage_c_however_right_the_answers() -> None:
    form = [0.95, 0.95, 0.95, 0.2, 0.1, 0.1, 0.1, 0.1]
    found = course(answers(KEPT, form), answers(KEPT), Resampling(QUESTIONS, 0, 300))
    assert found.labels == "AAACCCCC"


def test_a_fall_without_fluency_is_not_stage_b() -> None:
    perplexity = [1.2, 1.2, 1.3, 3.0, 4.0, 4.0, 4.0, 4.0]
    found = course(
        answers([0.9, 0.88, 0.87, 0.55, 0.5, 0.5, 0.48, 0.5], fluency=perplexity),
        answers(KEPT),
        Resampling(QUESTIONS, 0, 300),
    )
    assert found.labels == "AAAbbbbb"
    assert not found.collapse.shown


def test_a_change_point_needs_three_generations_and_two_values() -> None:
    assert change_point(np.array([0.9, 0.1])) is None
    assert change_point(np.array([0.5, 0.5, 0.5])) is None
    assert change_point(np.array([0.9, 0.9, 0.1])) == 2
