from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from autophage.store.answers import ANSWERS, Answer, read_answers
from autophage.store.commit import Generation, commit_generation
from autophage.store.manifest import Metric, check, committed
from autophage.store.rundir import RunDirectory
from autophage.store.weights import Weights

ONE = Answer("s/0", "s", "few-shot", 3, 1, (-1.5, -0.25, -100.0, -4.0), greedy=True, complies=False, confidence=0.8125)
ANSWERED = [ONE, replace(ONE, question="s/1", generated="Γ\n B", generated_choice=1, entailment=0.5)]


def commit(run: RunDirectory, answers: list[Answer]) -> None:
    metrics = [Metric("fluency/ppl_human", 2.0)]
    made = Generation("a", 0, Weights(b"weights", {"r": 8}), "a@0", [], metrics, None, 1, answers=answers)
    commit_generation(run, made, level="exact", versions={}, arms=["a"])


def test_answers_are_read_back_and_vouched_for(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    commit(run, ANSWERED)
    folder = run.generation("a", 0)
    rows = read_answers(folder).to_pylist()
    assert [{**row, "logprobs": tuple(row["logprobs"])} for row in rows] == [asdict(answer) for answer in ANSWERED]
    [manifest] = committed(run, "a")
    assert ANSWERS in manifest.files
    assert check(run, "a", 0) == []
    (folder / ANSWERS).write_bytes((folder / ANSWERS).read_bytes()[:-1])
    assert any(ANSWERS in fault for fault in check(run, "a", 0))


def test_a_generation_that_was_asked_nothing_has_no_file(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    commit(run, [])
    folder = run.generation("a", 0)
    assert not (folder / ANSWERS).exists()
    assert read_answers(folder).num_rows == 0
    assert read_answers(folder).column_names == list(asdict(ONE))
