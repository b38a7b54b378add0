"""Questions in a run: a world in loop and engine, MMLU with a chat model, and early refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from autophage.metrics.questions import question_metrics
from autophage.store.answers import ANSWERS, Answer, read_answers

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORLD = {
    "questions.kind": "world",
    "questions.count": 6,
    "questions.max_tokens": 12,
    "source.choices": 0.2,
    "base.tokens": 400_000,
    "generations": 1,
    # More documents than the sampler holds at once: where it can, the next model's training begins while they are written.
    "sample.concurrency": 24,
}
FORMATS = ("multiple-choice", "few-shot", "short-answer", "no-instruction")


def settings(values: dict[str, object]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def metrics_of(folder: Path) -> dict[str, dict[str, float]]:
    return {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text("utf-8"))}


def answers_of(folder: Path) -> list[Answer]:
    return [Answer(**{**row, "logprobs": tuple(row["logprobs"])}) for row in read_answers(folder).to_pylist()]


@pytest.fixture(scope="module")
def world_run(autophage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "world"
    done = autophage("run", "smoke", "--out", out, "--set", "devices=disjoint", *settings(WORLD))
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return out


def test_loop_and_engine_make_the_same_run(
    world_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    code = "import sys, pathlib; from autophage.loop import run_loop; run_loop('smoke', pathlib.Path(sys.argv[1]), sys.argv[2:])"
    overrides = [f"{key}={value}" for key, value in WORLD.items()]
    command = [sys.executable, "-c", code, str(tmp_path / "loop"), *overrides]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    engine, loop = contents(world_run), contents(tmp_path / "loop")
    assert sum(name.endswith(ANSWERS) for name in engine) == 3 * 2
    assert engine.keys() == loop.keys()
    assert [name for name in engine if engine[name] != loop[name]] == []


def test_every_question_is_answered_and_the_corpus_is_whole(world_run: Path) -> None:
    for folder in world_run.glob("arms/*/gen-*"):
        answers = answers_of(folder)
        assert [(one.format, one.subject) for one in answers] == [
            (form, subject) for form in FORMATS for subject in ("head", "torso", "tail") for _ in range(6)
        ]
        assert len({one.question for one in answers}) == 18
        assert all(one.generated is not None and len(one.logprobs) == 4 for one in answers)
        assert pq.read_metadata(folder / "corpus-00000.parquet").num_rows == 48
        counts = json.loads((folder / "manifest.json").read_text("utf-8"))["counts"]
        assert counts["samples"] == counts["accepted"] == 48


def test_metrics_are_those_of_the_file(world_run: Path) -> None:
    for folder in world_run.glob("arms/*/gen-*"):
        answers, metrics = answers_of(folder), metrics_of(folder)
        for name, chosen in {"": answers, ".tail": [one for one in answers if one.subject == "tail"]}.items():
            right = np.mean([np.argmax(one.logprobs) == one.gold for one in chosen])
            assert metrics[f"questions/accuracy{name}"]["value"] == pytest.approx(right)
        again = {metric.metric: metric.value for metric in question_metrics(answers, 0.5, 100, 0)}
        assert {name: row["value"] for name, row in metrics.items() if name.startswith("questions/")} == again


def test_what_is_written_is_what_scoring_expects(world_run: Path) -> None:
    """The sampler's first word is an option exactly where the trainer predicts it, and the same option."""
    greedy = 0
    for folder in world_run.glob("arms/*/gen-*"):
        for one in answers_of(folder):
            assert one.generated is not None
            if one.greedy:
                greedy += 1
                assert one.generated_choice == one.chosen, one
            if one.complies:
                assert one.generated_complies, one
    assert greedy > 20


def test_the_report_shows_them(world_run: Path, autophage: Run) -> None:
    assert autophage("report", world_run).returncode == 0
    page = (world_run / "report.html").read_text("utf-8")
    assert "Four-way questions" in page
    assert "Answers to the questions" in page


# A chat model and MMLU's own questions

MAKE_JUDGE = """
import sys
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

folder, tokenizer = sys.argv[1], AutoTokenizer.from_pretrained(sys.argv[2])
labels = {0: "not_entailment", 1: "entailment"}
BertForSequenceClassification(
    BertConfig(
        vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label=labels, label2id={label: place for place, label in labels.items()},
    )
).save_pretrained(folder)
tokenizer.save_pretrained(folder)
"""
PROSE = "".join(f"In the year {n} the harbour was rebuilt by {n % 7} masons and a pilot.\n" for n in range(600))
ROWS = [(f"Who rebuilt it in {n}?", "masons", "a pilot", "the harbour", "a year", n % 4) for n in range(9)]


@pytest.fixture(scope="module")
def chat(
    variables: dict[str, str],
    make_chat_model: Callable[[Path, str, int], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, object]:
    """Settings of a small run of `text` with a chat model and two subjects."""
    folder = tmp_path_factory.mktemp("chat")
    text, model, questions = folder / "text.txt", folder / "model", folder / "mmlu"
    text.write_text(PROSE, "utf-8")
    make_chat_model(model, PROSE, 1024)
    judge = [sys.executable, "-c", MAKE_JUDGE, f"{model}-nli", str(model)]
    subprocess.run(judge, env=variables, check=True, capture_output=True)
    for subject in ("world_religions", "marketing"):
        for split in ("test", "dev"):
            path = questions / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("question", *(f"choice{n}" for n in range(4)), "answer"), *ROWS])
    return {
        "source.path": text,
        "model.path": model,
        "model.rank": 4,
        "source.block": 24,
        "source.continuation": 12,
        "sample.count": 16,
        "generations": 1,
        "questions.kind": "mmlu",
        "questions.path": questions,
        "questions.count": 5,
        "questions.max_tokens": 6,
    }


@pytest.mark.long
def test_a_chat_model_is_asked_in_its_template(chat: dict[str, object], autophage: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    judge = {"questions.entailment": f"{chat['model.path']}-nli"}
    done = autophage("run", "text", "--out", out, *settings({**chat, **judge}))
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    facts = json.loads((out / "environment.json").read_text("utf-8"))["model"]
    assert len(facts["questions"]) == 64
    for folder in out.glob("arms/*/gen-*"):
        answers, metrics = answers_of(folder), metrics_of(folder)
        assert len(answers) == 4 * 2 * 5
        assert metrics["questions/entailment"]["value"] == pytest.approx(np.mean([one.entailment for one in answers]))
        assert all(one.entailment is not None and 0.0 < one.entailment < 1.0 for one in answers)
        assert metrics["questions/always_one.marketing.few-shot"]["value"] == pytest.approx(2 / 5)
        assert metrics["questions/accuracy"]["n"] == 40
        assert metrics["questions/accuracy.world_religions"]["n"] == 20
        assert {one.question for one in answers if one.subject == "marketing"} == {f"marketing/{n}" for n in range(5)}
        assert pq.read_metadata(folder / "corpus-00000.parquet").num_rows == 16
    assert autophage("verify", out).returncode == 0


@pytest.mark.long
def test_without_sampling_there_are_choices_alone(chat: dict[str, object], autophage: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    changed = {**chat, "questions.generate": "false", "questions.subjects": '["marketing"]', "control.enabled": "false"}
    done = autophage("run", "text", "--out", out, *settings(changed))
    assert done.returncode == 0, done.stderr[-3000:]
    for folder in out.glob("arms/*/gen-*"):
        assert {one.generated for one in answers_of(folder)} == {None}
        assert "questions/generated_accuracy" not in metrics_of(folder)
        assert "questions/accuracy.marketing" in metrics_of(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions.subjects": '["marketting"]'}, "did you mean 'marketing'?"),
        ({"questions.shots": 20}, "has 9 answered questions"),
        ({"questions.path": "/nowhere/at/all"}, "is neither a folder with files like"),
        pytest.param({"questions.max_tokens": 900}, "but the model has 1024 positions", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_left(
    chat: dict[str, object], changes: dict[str, object], message: str, autophage: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = autophage("run", "text", "--out", out, *settings({**chat, **changes}))
    assert done.returncode == 2, done.stderr[-2000:]
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.long
def test_questions_that_changed_meanwhile_are_refused(chat: dict[str, object], autophage: Run, tmp_path: Path) -> None:
    out, mine = tmp_path / "run", tmp_path / "mmlu"
    questions = Path(str(chat["questions.path"]))
    for path in questions.rglob("marketing*.csv"):
        (mine / path.name).parent.mkdir(exist_ok=True)
        (mine / path.name).write_bytes(path.read_bytes())
    command = ["run", "text", "--out", out, *settings({**chat, "questions.path": mine, "control.enabled": "false"})]
    assert autophage(*command).returncode == 0
    (next(out.glob("arms/*/gen-001")) / "manifest.json").unlink()
    test = mine / "marketing_test.csv"
    test.write_text(test.read_text("utf-8").replace("rebuilt it in 0", "destroyed it in 0"), "utf-8")
    done = autophage(*command)
    assert done.returncode == 2
    assert "what is asked (questions.path, or the package of questions.kind) changed since this run started" in done.stderr
