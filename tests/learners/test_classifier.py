"""A classifier of verified labels on both sides of the breakdown point of arXiv 2406.07515."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.learners.conftest import Load

from autophage.learners.classifier import KEPT, LABEL, RIGHT, LinearClassifier
from autophage.learners.loop import Chain, _training_rows
from autophage.metrics.verification import breakdown_point, expected_accuracy, limits
from autophage.progress import Meter

ROWS, FEATURES, CHAINS = 300, 8, 200
VERIFIERS = [(1.0, 1.0), (0.8, 0.2)]


def course(
    load: Load, error: float, verifier: tuple[float, float], *overrides: str, generations: int = 4
) -> list[dict[str, Any]]:
    """Metrics of generations 0 to `generations` by name, as the loop of one arm computes them."""
    settings = [f"learner.repetitions={CHAINS}", f"learner.dimensions={FEATURES}", f"sample.count={ROWS}"]
    settings += [f"learner.error={error}", f"learner.keep_right={verifier[0]}", f"learner.keep_wrong={verifier[1]}"]
    (arm,) = load("classifier", *settings, "control.enabled=false", *overrides).arms
    chain = Chain(arm, LinearClassifier(arm.recipe))
    found = []
    for generation in range(generations + 1):
        state = chain.learner.fit(_training_rows(chain, generation), 0, None, Meter())
        chain.rows[generation] = chain.learner.draw(state, ROWS, 300 + generation)
        metrics = chain.learner.measure(generation, state, state, chain.rows[generation], 0)
        found.append({metric.metric: metric for metric in metrics})
    return found


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_below_the_breakdown_point_the_loop_recovers(load: Load, verifier: tuple[float, float]) -> None:
    found = course(load, breakdown_point(*verifier) - 0.1, verifier)
    first, last = found[0]["learner/accuracy"], found[-1]["learner/accuracy"]
    best, _ = limits(1.5)
    assert last.low > first.high
    assert best - 0.02 < last.value < best
    assert found[-1]["learner/kept_error"].high < 0.15


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_above_the_breakdown_point_the_loop_learns_the_opposite(load: Load, verifier: tuple[float, float]) -> None:
    found = course(load, breakdown_point(*verifier) + 0.1, verifier)
    first, last = found[0]["learner/accuracy"], found[-1]["learner/accuracy"]
    assert max(first.high, last.high) < 0.2
    assert found[-1]["learner/kept_error"].low > 0.5


def test_the_same_labels_recover_with_a_verifier_and_collapse_without(load: Load) -> None:
    without, verified = (course(load, 0.65, verifier)[-1]["learner/accuracy"] for verifier in VERIFIERS)
    assert without.high < 0.2
    assert verified.low > 0.9


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("error", [0.1, 0.3, 0.45, 0.55, 0.7, 0.8, 0.9])
def test_model_0_agrees_with_the_closed_form(load: Load, error: float, verifier: tuple[float, float]) -> None:
    (first,) = course(load, error, verifier, generations=0)
    measured, theory = first["learner/accuracy"], first["theory/accuracy"]
    reach = (measured.high - measured.low) / 2
    assert theory.value == expected_accuracy(ROWS, FEATURES, 1.5, error, *verifier)
    assert abs(measured.value - theory.value) < 1.7 * reach


def test_human_labels_accumulate_as_one_larger_fit(load: Load) -> None:
    found = course(load, 0.42, (1.0, 1.0), "mix.alpha=0.0", "mix.pool=accumulate")
    for generation, one in enumerate(found):
        measured, theory = one["learner/accuracy"], one["theory/accuracy"]
        assert theory.value == expected_accuracy((generation + 1) * ROWS, FEATURES, 1.5, 0.42, 1.0, 1.0)
        assert abs(measured.value - theory.value) < 2.5 * (measured.high - measured.low) / 2


def test_labels_of_a_model_have_no_closed_form_here(load: Load) -> None:
    first, second = course(load, 0.3, (1.0, 1.0), generations=1)
    assert "theory/accuracy" in first
    assert "theory/accuracy" not in second
    repeated = course(load, 0.3, (1.0, 1.0), "mix.alpha=0", "mix.pool=accumulate", "mix.human=fixed", generations=1)
    assert "theory/accuracy" not in repeated[1]


def test_labels_are_kept_at_the_rates_of_the_verifier(load: Load) -> None:
    overrides = ("learner.repetitions=10", "learner.error=0.3", "learner.keep_right=0.9", "learner.keep_wrong=0.25")
    learner = LinearClassifier(load("classifier", *overrides).recipe)
    values = np.stack(learner.human(1, 5000)).reshape(5000, 10, -1)
    right, kept = values[..., RIGHT] == 1, values[..., KEPT]
    assert right.mean() == pytest.approx(0.7, abs=0.01)
    assert kept[right].mean() == pytest.approx(0.9, abs=0.01)
    assert kept[~right].mean() == pytest.approx(0.25, abs=0.01)
    classes = np.where(right, values[..., LABEL], -values[..., LABEL])
    assert (values[..., :LABEL].mean(axis=-1) * classes).mean() == pytest.approx(1.5 * 2**-0.5, abs=0.02)


def test_a_verifier_that_rejects_every_label_leaves_a_guess(load: Load) -> None:
    found = course(load, 1.0, (1.0, 0.0), generations=1)
    assert found[0]["learner/accuracy"].value == 0.5
    assert found[0]["theory/accuracy"].value == 0.5
    # A guess is right half of the time, so a verifier that knows has something to keep again.
    assert found[1]["learner/accuracy"].low > 0.9
