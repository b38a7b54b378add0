"""Metrics of four-way questions against counts by hand. Questions are the units of an interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autophage.metrics.intervals import wilson
from autophage.metrics.questions import question_metrics
from autophage.store.answers import Answer
from autophage.store.manifest import Metric

BASE = Answer("s/0", "s", "few-shot", 0, 0, (-0.1, -2.0, -3.0, -4.0), greedy=True, complies=True, confidence=0.8)

FOUR = [
    BASE,
    replace(BASE, question="s/1", gold=1, greedy=False, confidence=0.6),
    replace(BASE, question="s/2", gold=0, greedy=False, complies=False, confidence=0.4),
    replace(BASE, question="t/0", subject="t", gold=2, chosen=3, complies=False, confidence=0.5),
]


def measured(answers: list[Answer], confident: float = 0.5) -> dict[str, Metric]:
    metrics = question_metrics(answers, confident, 200, 0)
    assert len({metric.metric for metric in metrics}) == len(metrics)
    return {metric.metric.removeprefix("questions/"): metric for metric in metrics}


def test_counted_by_hand() -> None:
    found = {name: metric.value for name, metric in measured(FOUR).items() if "." not in name}
    assert found == pytest.approx(
        {
            "accuracy": 2 / 4,
            "greedy_rate": 1 / 2,
            "dominant": 3 / 4,
            "always_one": 2 / 4,
            "compliance": 2 / 4,
            "confidence": 2.3 / 4,
            "confidently_wrong": 1 / 4,  # 0.5 is not above the bound
            "ece": (0.2 + 0.6 + 0.6 + 0.5) / 4,  # four bins of one answer each
        }
    )


def test_each_format_and_subject_has_its_own() -> None:
    answers = [*FOUR, replace(BASE, format="short-answer", chosen=1)]
    found = measured(answers)
    suffixes = {name.partition(".")[2] for name in found}
    assert suffixes == {"", "few-shot", "short-answer", "s", "t", "s.few-shot", "s.short-answer", "t.few-shot"}
    assert found["accuracy.few-shot"].value == 2 / 4
    assert found["accuracy.short-answer"].value == 0.0
    assert found["accuracy.s"].value == 2 / 4
    assert found["accuracy.s.few-shot"].value == pytest.approx(2 / 3)
    assert found["always_one.s.few-shot"].value == pytest.approx(2 / 3)
    assert "greedy_rate.t" not in found  # none is right


def test_a_dot_in_a_subject_does_not_end_its_name() -> None:
    assert "accuracy.a-b.few-shot" in measured([replace(BASE, subject="a.b")])


def test_intervals_are_over_questions() -> None:
    """The same questions in a second format tell nothing new: no interval gets narrower."""
    rng = np.random.default_rng(0)
    once = [
        replace(BASE, question=f"s/{n}", gold=int(rng.integers(4)), confidence=float(rng.uniform(0.2, 1)))
        for n in range(60)
    ]
    twice = once + [replace(answer, format="short-answer") for answer in once]
    one, two = measured(once), measured(twice)
    for name in ("accuracy", "dominant", "compliance", "confidence", "confidently_wrong", "greedy_rate", "ece"):
        assert (one[name].value, one[name].low, one[name].high) == pytest.approx(
            (two[name].value, two[name].low, two[name].high)
        ), name
    hits = sum(answer.right for answer in once)
    assert (two["accuracy"].low, two["accuracy"].high) == pytest.approx(wilson(hits, 60))
    assert (two["accuracy"].n, one["accuracy"].n) == (120, 60)
    assert two["always_one"].low is None


def test_written_answers() -> None:
    written = [
        replace(BASE, generated="A", generated_choice=0, generated_complies=True),
        replace(BASE, question="s/1", generated="B", generated_choice=1, generated_complies=True),
        replace(BASE, question="s/2", gold=2, generated="mud", generated_complies=False),
    ]
    found = measured(written)
    assert found["generated_accuracy"].value == pytest.approx(1 / 3)
    assert found["generated_compliance"].value == pytest.approx(2 / 3)
    assert "entailment" not in found
    judged = [replace(answer, entailment=value) for answer, value in zip(written, (0.9, 0.3, 0.0), strict=True)]
    assert measured(judged)["entailment"].value == pytest.approx(0.4)
    silent = [replace(answer, generated_choice=None) for answer in written]
    assert measured(silent)["generated_accuracy"].value == 0.0
    assert "generated_accuracy" not in measured(FOUR)


def test_nothing_is_asked() -> None:
    assert question_metrics([], 0.5, 200, 0) == []
