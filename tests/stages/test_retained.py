"""What a generation has kept of model 0's knowledge is added to its metrics, from the committed answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from autophage.stages.retained import ignorance, with_retention
from autophage.store.answers import Answer, answers_in, write_answers
from autophage.store.commit import Generation
from autophage.store.manifest import Metric
from autophage.store.rundir import RunDirectory
from autophage.store.weights import Weights


def answer(number: int, right: bool, bucket: str | None) -> Answer:
    gold = number % 4
    chosen = gold if right else (gold + 1) % 4
    return Answer(
        f"cities/{bucket}{number}",
        "cities",
        "cloze",
        gold,
        chosen,
        (-1.0, -2.0, -3.0, -4.0),
        greedy=False,
        complies=True,
        confidence=0.5,
        bucket=bucket,
    )


def made(generation: int, answers: list[Answer]) -> Generation:
    return Generation("main", generation, Weights(b"lora", {}), "m", [], [Metric("x", 1.0)], None, 1, answers=answers)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_a_later_model_is_compared_with_what_model_0_committed(run: RunDirectory) -> None:
    folder = run.generation("main", 0)
    folder.mkdir(parents=True)
    first = [answer(n, True, "head") for n in range(20)]
    write_answers(folder, first)
    assert answers_in(folder) == first
    found = with_retention(run, made(1, [answer(n, n < 5, "head") for n in range(20)]))
    values = {metric.metric: metric.value for metric in found.metrics}
    assert values["x"] == 1.0
    assert values["knowledge/retention.head"] == pytest.approx(0.25)


def test_model_0_has_kept_all_before_anything_is_committed(run: RunDirectory) -> None:
    found = with_retention(run, made(0, [answer(n, n < 15, "tail") for n in range(20)]))
    assert {metric.metric: metric.value for metric in found.metrics}["knowledge/retention.tail"] == 1.0


def test_questions_without_classes_change_nothing(run: RunDirectory) -> None:
    plain = made(1, [answer(0, True, None)])
    assert with_retention(run, plain) is plain
    assert ignorance(plain) == ""


def test_a_model_that_only_guesses_is_told_once() -> None:
    known = [answer(n, n < 18, "head") for n in range(20)]
    guessed = [answer(n, n < 5, "tail") for n in range(20)]
    assert "places of the class tail no better than a guess would, so it can lose nothing there" in ignorance(
        made(0, known + guessed)
    )
    assert "all classes of places no better than a guess would, so this run can show no loss" in ignorance(
        made(0, guessed)
    )
    assert ignorance(made(0, known)) == ""
    assert ignorance(made(1, guessed)) == ""
