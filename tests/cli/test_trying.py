"""`try`: refusals, and the samples in a terminal. `tests/runs/test_trial.py` runs the real engine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest

from autophage.cli import main, trying
from autophage.errors import RunError
from autophage.recipe import LoadedRecipe
from autophage.runs.trial import Trial
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric

GATED = 'name = "gated"\n[[gate]]\nkind = "verifier"\n'


def sample(text: str, prompt: str = "", **fields: object) -> Sample:
    values = np.full(2, 0.5, np.float32)
    kept: dict[str, object] = {"finish_reason": "stop", **fields}
    return Sample("id", prompt, text, [1], [5, 6], seed=1, logprob=-values, entropy=values, varentropy=values,
                  max_prob=values, rank=np.ones(2, np.int64), **kept)  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe with a gate, whose trial gives samples that are made here."""
    path = tmp_path / "gated.toml"
    path.write_text(GATED, "utf-8")
    samples = [
        sample("Mara was born in Varrow .\nShe is a pilot .", prompt="x" * 700 + " ends here"),
        sample("\x1b[2J\u202eword " * 200, finish_reason="length", accepted=False, weight=0.0, gate="verifier: wrong"),
        sample("", weight=0.25),
    ]

    def tried(loaded: LoadedRecipe, count: int, arm: str | None, stream: TextIO) -> Trial:
        print("a library speaks")
        os.write(1, b"so does its C++")
        os.write(2, b"so does its C++")
        print("the program's progress", file=stream)
        metrics = [Metric("gate/accepted", 2 / 3, n=3)]
        return Trial("main", "from-source", 2_100_000, samples, metrics, {"loading": 1.25, "sampling": 0.5}, ["a note"])

    monkeypatch.setattr("autophage.runs.trial.try_recipe", tried)
    return str(path)


def test_samples_in_80_columns(gated: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["try", gated]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["gated, arm main: 3 samples of model 0, from-source (2.10M parameters)", "note: a note"]
    assert "  1 2 tokens, ended by the model, surprisal 0.50, entropy 0.50 nats" in lines
    assert "    She is a pilot ." in lines
    assert "ends here" in printed.out
    assert "    rejected (verifier: wrong)" in lines
    assert "    accepted, weight 0.25" in lines
    assert "    (empty)" in lines
    assert "the gates accept 2 of 3" in lines
    assert "time: loading 1.2 s, sampling 0.5 s" in lines
    assert "\x1b" not in printed.out
    assert "\u202e" not in printed.out


def test_json_is_alone_on_standard_output(gated: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", gated, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["accepted"] for one in facts["samples"]] == [True, False, True]
    assert facts["samples"][1]["gate"] == "verifier: wrong"
    assert facts["samples"][0]["surprisal"] == 0.5
    assert (facts["tokens"], facts["arm"], facts["gates"][0]["kind"]) == (6, "main", "verifier")
    assert trying.LONGEST < len(facts["samples"][0]["prompt"]) == 710


def test_libraries_are_not_heard(gated: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["try", gated]) == 0
    printed = capfd.readouterr()
    assert "speaks" not in printed.out + printed.err
    assert "C++" not in printed.out + printed.err
    assert "the program's progress" in printed.err


def test_libraries_are_heard_after_a_failure(
    gated: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Trial:
        os.write(2, b"the engine says why\n")
        raise RunError("the engine failed")

    monkeypatch.setattr("autophage.runs.trial.try_recipe", fails)
    assert main(["try", gated]) == 1
    assert capfd.readouterr().err == "the engine says why\nerror: the engine failed\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curse-gaussian"], "its models write no text to look at"),
        (
            ["smoke", "--arm", "alpha-2"],
            "--arm alpha-2: the recipe has no such arm. It has alpha-1.0, alpha-0.5, control.",
        ),
        (["smoke", "--count", "0"], "--count 0: give 1 to 1000."),
        (["smoke", "--set", "sample.cuont=3"], "sample.count"),
        (["smoky"], "smoke"),
    ],
)
def test_wrong_input_is_one_message(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["try", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("error:") == 1
