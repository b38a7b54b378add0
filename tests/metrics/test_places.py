"""Knowledge of places by class, and what a later model has kept of it."""

from __future__ import annotations

import math

import pytest

from autophage.metrics.intervals import wilson
from autophage.metrics.places import guessed, place_metrics, retention_metrics
from autophage.store.answers import Answer
from autophage.store.manifest import Metric


def answer(
    number: int,
    right: bool,
    bucket: str | None = "head",
    form: str = "cloze",
    written: bool | None = None,
    subject: str = "cities",
) -> Answer:
    gold = number % 4
    chosen = gold if right else (gold + 1) % 4
    said = {} if written is None else {"generated": "x", "generated_choice": gold if written else None}
    return Answer(
        f"{subject}/{bucket}{number}", subject, form, gold, chosen, (0.0,) * 4, True, True, 0.6, **said, bucket=bucket,  # type: ignore[arg-type]
    )  # fmt: skip


def named(metrics: list[Metric]) -> dict[str, Metric]:
    found = {metric.metric: metric for metric in metrics}
    assert len(found) == len(metrics)
    return found


def test_accuracy_by_class_format_and_subject_with_intervals() -> None:
    answers = [answer(n, n < 8) for n in range(10)] + [answer(n, n < 3, "tail") for n in range(10)]
    found = named(place_metrics(answers, 0.5, 100, 0))
    assert found["knowledge/accuracy"].value == pytest.approx(0.55)
    assert found["knowledge/accuracy.head"].value == pytest.approx(0.8)
    assert (
        found["knowledge/accuracy.tail.cloze"].value
        == found["knowledge/accuracy.tail.cities"].value
        == pytest.approx(0.3)
    )
    assert (found["knowledge/accuracy.tail"].low, found["knowledge/accuracy.tail"].high) == wilson(3, 10)
    assert found["knowledge/confidently_wrong.tail"].value == pytest.approx(0.7)
    assert all(one.low is not None and one.high is not None and math.isfinite(one.low) for one in found.values())
    assert not any(name.startswith("knowledge/generated") for name in found)


def test_formats_of_one_question_are_not_independent() -> None:
    answers = [answer(n, n < 8, form=form) for n in range(10) for form in ("cloze", "question-answer")]
    found = named(place_metrics(answers, 0.5, 100, 0))
    assert (found["knowledge/accuracy"].low, found["knowledge/accuracy"].high) == pytest.approx(wilson(8, 10))
    assert found["knowledge/accuracy"].n == 20


def test_other_questions_have_none() -> None:
    assert place_metrics([answer(n, True, None) for n in range(5)], 0.5, 100, 0) == []
    assert retention_metrics([answer(0, True, None)], [answer(0, True, None)]) == []


def test_retention_counts_what_was_known_alone() -> None:
    before = [answer(n, n < 8) for n in range(10)]
    now = [answer(n, n in (0, 1, 2, 3, 4, 5, 9)) for n in range(10)]
    found = named(retention_metrics(before, now))
    kept = found["knowledge/retention.head"]
    assert kept.value == pytest.approx(6 / 8)
    assert (kept.low, kept.high, kept.n) == (*wilson(6, 8), 8)
    assert found.keys() == {f"knowledge/retention{suffix}" for suffix in ("", ".head", ".head.cloze", ".head.cities")}
    assert named(retention_metrics(before, before))["knowledge/retention.head"].value == 1.0


def test_a_class_that_is_guessed_has_no_retention() -> None:
    before = [answer(n, n < 18) for n in range(20)] + [answer(n, n < 5, "tail") for n in range(20)]
    found = named(retention_metrics(before, before))
    assert "knowledge/retention.head" in found
    assert not any(".tail" in name for name in found)
    assert guessed(before) == ["tail"]
    assert guessed([answer(n, n < 18) for n in range(20)]) == []


def test_written_answers_have_their_own() -> None:
    before = [answer(n, n < 18, written=n < 2) for n in range(20)]
    now = [answer(n, n < 18, written=n == 1) for n in range(20)]
    assert named(place_metrics(before, 0.5, 100, 0))["knowledge/generated_accuracy.head"].value == pytest.approx(0.1)
    found = named(retention_metrics(before, now))
    assert found["knowledge/retention.head"].value == 1.0
    assert found["knowledge/generated_retention.head"].value == pytest.approx(0.5)
    nothing = [answer(n, n < 18, written=False) for n in range(20)]
    assert not any("generated_retention" in name for name in named(retention_metrics(nothing, nothing)))


def test_questions_that_model_0_was_not_asked_do_not_count() -> None:
    before = [answer(n, True) for n in range(10)]
    now = [answer(n, n < 5) for n in range(20)]
    assert named(retention_metrics(before, now))["knowledge/retention.head"].value == pytest.approx(0.5)
