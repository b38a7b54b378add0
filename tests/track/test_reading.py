"""From files of a run to what a tracker receives, without any tracker's package."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tests.made_runs import RunMaker, commit

from autophage.recipe import expand, read_resolved
from autophage.recipe.tables.track import TrackTable
from autophage.report import write_report
from autophage.report.page import SAMPLES_BEGIN, without_samples
from autophage.store.manifest import MANIFEST, Metric
from autophage.store.rundir import RunDirectory
from autophage.track.ledger import Ledger, destination, ledger_path, read_ledger
from autophage.track.reading import RunReader
from autophage.track.records import MadeGeneration, curve_rows, identity, metric_values, tracked_arm

TABLE = TrackTable(to=["mlflow"])


def unsent(run: RunDirectory, ledger: Ledger, table: TrackTable = TABLE) -> list[MadeGeneration]:
    """What the ledger lacks; all of it is entered."""
    found = []
    for arm, made, digest in RunReader(run, table).unsent(ledger):
        ledger.sent[arm.name].append(digest)
        found.append(made)
    return found


def test_a_metric_has_its_value_and_its_bounds() -> None:
    metrics = [Metric("fluency/ppl_form", 1.5, 1.25, 1.75, 9), Metric("drift/kl_to_base", 0.0, None, math.nan)]
    assert metric_values(metrics) == {
        "fluency/ppl_form": 1.5,
        "fluency/ppl_form.low": 1.25,
        "fluency/ppl_form.high": 1.75,
        "drift/kl_to_base": 0.0,
    }


def test_steps_of_a_curve_continue_those_of_earlier_generations() -> None:
    rows = curve_rows({"loss": [2.0, 1.0], "divergence": [math.nan, 0.5]}, before=10)
    assert [(row.step, dict(row.values)) for row in rows] == [
        (11, {"train/loss": 2.0}),
        (12, {"train/loss": 1.0, "train/divergence": 0.5}),
    ]


def test_an_identity_follows_from_the_start_of_the_run() -> None:
    start = {"time": 1.5, "kind": "run-start", "name": "demo", "arms": ["main"]}
    assert identity(start) == identity(dict(reversed(start.items())))
    assert identity(start) != identity({**start, "time": 1.501})


def test_an_arm_carries_its_settings_and_no_address(make_run: RunMaker) -> None:
    arms = expand(read_resolved(make_run().recipe))
    main, control = (tracked_arm(arm, "0123456789abcdef", None) for arm in arms)
    assert main.id != control.id
    assert (main.group, main.label, control.tags["control"]) == ("tiny-012345", "main 012345", "true")
    assert (main.settings["mix.alpha"], control.settings["mix.alpha"]) == (1.0, 0.0)
    assert main.settings["measure.formats"] == '["question-answer", "cloze", "few-shot"]'
    assert not [key for key in main.settings if key.startswith(("track.", "sweep.", "remedies."))]
    assert tracked_arm(arms[0], "0123456789abcdef", "mine").group == "mine"


def test_each_committed_generation_comes_once_and_in_order(make_run: RunMaker) -> None:
    run = make_run(end="", main=2, control=1)
    ledger = Ledger("")
    places = [(made.arm, made.generation) for made in unsent(run, ledger)]
    assert places == [("main", 0), ("main", 1), ("control", 0)]
    assert unsent(run, ledger) == []
    commit(run, "control", 1)
    (made,) = unsent(run, ledger)
    assert (made.arm, made.generation) == ("control", 1)
    assert made.values["knowledge/accuracy.torso.high"] == 0.9
    assert len(made.values) == 5


def test_a_generation_without_a_manifest_does_not_count(make_run: RunMaker) -> None:
    run = make_run(end="", main=2)
    (run.generation("main", 1) / MANIFEST).unlink()
    assert [made.generation for made in unsent(run, Ledger(""))] == [0]


def test_a_generation_that_was_made_again_is_sent_again_with_its_descendants(make_run: RunMaker) -> None:
    run = make_run(main=3)
    ledger = Ledger("")
    unsent(run, ledger)
    ledger.sent["main"][1] = "another"
    assert [made.generation for made in unsent(run, ledger)] == [1, 2]
    assert unsent(run, ledger) == []


def test_text_is_sent_on_request_alone(make_run: RunMaker) -> None:
    run = make_run(main=1)
    (without,) = unsent(run, Ledger(""))
    assert without.samples == []
    (made,) = unsent(run, Ledger(""), TrackTable(samples=2))
    assert [(row["place"], row["text"], row["accepted"]) for row in made.samples] == [
        (0, "a b", True),
        (2, "a b", True),
    ]
    json.dumps(made.samples)


def test_the_report_is_sent_without_the_text_of_samples(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(main=3, control=3)
    write_report(run)
    page = run.report.read_text("utf-8")
    assert "a b</p>" in page
    sent = RunReader(run, TABLE).report(Ledger(""), tmp_path)
    assert sent is not None
    assert "a b</p>" not in sent[0].read_text("utf-8")
    assert "Headline numbers" in sent[0].read_text("utf-8")
    whole = RunReader(run, TrackTable(samples=1)).report(Ledger(""), tmp_path)
    assert whole is not None
    assert whole[0] == run.report
    assert RunReader(run, TABLE).report(Ledger("", report=sent[1]), tmp_path) is None


def test_the_report_of_an_older_version_is_made_again_without_text(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(main=3)
    write_report(run)
    run.report.write_text(run.report.read_text("utf-8").replace(SAMPLES_BEGIN, ""), "utf-8")
    assert without_samples(run.report.read_text("utf-8")) is None
    sent = RunReader(run, TABLE).report(Ledger(""), tmp_path)
    assert sent is not None
    assert "a b</p>" not in sent[0].read_text("utf-8")
    assert "Headline numbers" in sent[0].read_text("utf-8")


@pytest.mark.parametrize(
    ("end", "outcome"), [("run-end", "finished"), ("interrupted", "interrupted"), ("", "interrupted")]
)
def test_an_outcome_is_read_from_the_history(make_run: RunMaker, end: str, outcome: str) -> None:
    assert RunReader(make_run(end=end, main=1), TABLE).outcome() == outcome


def test_a_ledger_is_kept_for_one_destination(make_run: RunMaker) -> None:
    path = ledger_path(make_run(), "mlflow")
    here = destination("mlflow", TABLE)
    Ledger(here, {"main": ["a"]}, "b").save(path)
    assert read_ledger(path, here).sent == {"main": ["a"]}
    elsewhere = destination("mlflow", TrackTable(mlflow_uri="http://elsewhere"))
    assert read_ledger(path, elsewhere) == Ledger(elsewhere)
    assert destination("mlflow", TrackTable(wandb_entity="us")) == here


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"sent": {"main": 3}, "destination": ""}', '{"destination": "", "sent": {"a": [1]}}']
)
def test_a_damaged_ledger_is_empty(make_run: RunMaker, text: str) -> None:
    path = ledger_path(make_run(), "mlflow")
    path.parent.mkdir()
    path.write_text(text, "utf-8")
    assert read_ledger(path, "") == Ledger("")
