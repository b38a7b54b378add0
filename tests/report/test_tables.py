"""Tables of settings, metrics, timings and provenance agree with the run."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from autophage.plan.choices import WITHOUT_GPU
from autophage.report import write_report
from autophage.report.facts.corpora import shown_generations
from autophage.report.facts.load import load
from autophage.report.facts.series import Metrics
from autophage.report.facts.table import DASH
from autophage.report.facts.words import change, number, percent, plotly_text, script_json
from autophage.report.figures.colours import styles
from autophage.report.figures.surprisal import density, mean_surprisal
from autophage.report.provenance import chain, event_summary, machine_words
from autophage.report.samples import arm_samples
from autophage.report.settings import caption, outcome_settings
from autophage.report.tables import guarded, headline_table, to_csv
from autophage.report.timings import light_words, timing_figures, timing_words, timings
from autophage.store.manifest import read_manifest, write_manifest
from autophage.store.metrics_table import SCHEMA
from autophage.store.rundir import EventLog, RunDirectory

pytestmark = pytest.mark.thorough

MakeRun = Callable[..., RunDirectory]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =cmd|' /C calc'!A0"])
def test_a_text_that_a_spreadsheet_would_run_is_guarded(text: str) -> None:
    assert str(guarded(text)).startswith("'")


def test_numbers_and_plain_texts_stay_as_they_are_in_csv() -> None:
    values = {"arm": "=evil,\n", "generation": 1, "metric": "m", "value": -0.5, "low": None, "high": 2.0, "n": 3}
    header, line = list(csv.reader(io.StringIO(to_csv([values]))))
    assert header == SCHEMA.names
    assert line == ["'=evil,\n", "1", "m", "-0.5", "", "2.0", "3"]


def test_the_headline_table_has_both_ends_of_every_arm(make_run: MakeRun) -> None:
    facts = load(make_run(reached={"alpha-1.0": 4, "alpha-0.5": 0, "control": 5}))
    rows = dict(headline_table(facts))["Accuracy, torso"]
    assert [(row.arm, row.cells[2].text, row.cells[1].text == DASH) for row in rows] == [
        ("alpha-1.0", "4", False),
        ("alpha-0.5", DASH, True),
        ("control", "5", False),
    ]
    assert rows[0].cells[3].look == "beyond"
    assert rows[2].cells[3].look == "within"


def test_settings_that_differ_are_marked_and_the_caption_lists_their_values(
    make_run: MakeRun, world_recipe: str
) -> None:
    recipe = world_recipe.replace("[1.0, 0.5]", '[1.0]\n"train.chain" = ["cumulative", "restart"]')
    facts = load(make_run(recipe=recipe, generations=1))
    differing = {setting.name for setting in outcome_settings(facts.arms) if setting.differs}
    assert differing == {"synthetic fraction (alpha)", "chain"}
    assert "chain cumulative or restart (by arm)" in caption(facts.arms)


def test_many_arms_are_the_rows_of_the_settings(make_run: MakeRun, world_recipe: str) -> None:
    alphas = [0.2, 0.4, 0.6, 0.8, 1.0]
    recipe = world_recipe.replace("[1.0, 0.5]", f'{alphas}\n"mix.pool" = ["replace", "accumulate"]')
    run = make_run(recipe=recipe.replace("[sweep]", "[control]\nenabled = false\n[sweep]"), generations=1)
    rows = {setting.name: setting for setting in outcome_settings(load(run).arms)}
    assert rows["chain"].usual == "cumulative"
    assert rows["pool"].usual is None  # as many as the others
    page = write_report(run).read_text("utf-8")
    table = page[page.index('<table class="settings across">') :].split("</table>")[0]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")[2:]]
    assert cells == [[f"{alpha:g}", pool] for alpha in alphas for pool in ("replace", "accumulate")]
    assert "<span>chain cumulative</span>" in page


def test_few_arms_are_the_columns_of_the_settings(world_run: RunDirectory) -> None:
    page = write_report(world_run).read_text("utf-8")
    assert '<table class="settings">' in page
    assert '<table class="settings across">' not in page


def test_every_arm_is_compared_with_its_own_control(make_run: MakeRun, world_recipe: str) -> None:
    recipe = world_recipe.replace("[1.0, 0.5]", '[1.0]\n"train.chain" = ["cumulative", "restart"]')
    facts = load(make_run(recipe=recipe, generations=1))
    for arm in facts.treated:
        control = facts.control_of(arm)
        assert control is not None
        assert control.recipe is not None
        assert arm.recipe is not None
        assert control.recipe.train.chain == arm.recipe.train.chain


def test_time_between_sessions_is_not_wall_clock(world_run: RunDirectory) -> None:
    before = timings(load(world_run))
    log = EventLog(world_run.events)
    later = 1_770_000_000.0 + 86_400
    log.append({"time": later, "kind": "run-start"})
    log.append({"time": later + 10, "kind": "run-end"})
    after = timings(load(world_run))
    assert after.sessions == 2
    assert after.wall == pytest.approx(before.wall + 10)
    assert event_summary(load(world_run).events).startswith("The run was started once, resumed 1 time")


def test_work_that_was_done_again_counts_once(world_run: RunDirectory) -> None:
    before = timings(load(world_run)).stages[("control", 5)]["train"]
    again = {"kind": "stage-end", "arm": "control", "generation": 5, "stage": "train", "seconds": 7.0}
    EventLog(world_run.events).append({"time": 1_770_001_000.0, **again})
    assert before != 7.0
    assert timings(load(world_run)).stages[("control", 5)]["train"] == 7.0


def test_stage_seconds_come_from_the_metrics_where_events_are_missing(world_run: RunDirectory) -> None:
    world_run.events.unlink()
    measured = timings(load(world_run))
    assert measured.stages[("control", 1)]["train"] == 21.0
    assert measured.wall == 0
    assert timing_words(measured) == []


def test_shares_of_the_wall_clock_add_up(world_run: RunDirectory) -> None:
    measured = timings(load(world_run))
    assert 0 < measured.useful + measured.base < measured.wall
    assert "of it, the base model" in " ".join(timing_words(measured))


def test_the_shares_of_light_are_medians_over_generations_and_arms(world_run: RunDirectory) -> None:
    facts = load(world_run)
    shares = [p.value for arm in facts.arms for p in facts.metrics.series(arm.name, "speed/sample_of_light")]
    [words] = light_words(facts)
    assert words.endswith(f"sampling {percent(statistics.median(shares))}, training 25% (medians of the generations).")
    figures = {
        figure.key: figure
        for figure in timing_figures(facts, timings(facts), styles([(arm.name, arm.control) for arm in facts.arms]))
    }
    assert [panel.metric for panel in figures["light"].panels] == ["speed/sample_of_light", "speed/train_of_light"]


def test_a_run_without_a_calibration_tells_no_share_of_light(world_run: RunDirectory) -> None:
    facts = load(world_run)
    bare = replace(facts, metrics=Metrics([row for row in facts.rows if not row["metric"].endswith("_of_light")]))
    assert light_words(bare) == []


def test_a_chain_of_manifests_is_sound_until_one_is_changed(world_run: RunDirectory) -> None:
    assert all(link.sound for arm in load(world_run).arms for link in chain(arm))
    folder = world_run.generation("control", 0)
    manifest = read_manifest(folder)
    assert manifest is not None
    write_manifest(folder, replace(manifest, level="best-effort"))
    control = next(arm for arm in load(world_run).arms if arm.name == "control")
    assert [link.sound for link in chain(control)] == [True, False, True, True, True, True]


def test_a_chain_tells_the_canary_of_each_generation(world_run: RunDirectory) -> None:
    for link in chain(load(world_run).arms[0]):
        assert link.weights == "c0ffeec0ffee, canary 4.0e-04 nats, mean 1.0e-04, staleness 0.01 ± 0.02"


def test_samples_of_all_generations_stand_at_the_same_places(world_run: RunDirectory) -> None:
    facts = load(world_run)
    shown = arm_samples(world_run, facts.arms[0])
    assert shown.generations == [0, 2, 5]
    assert shown.places == [0, 15, 30, 44, 59]
    assert all(len(row) == 3 for row in shown.rows)
    one = shown.rows[0][0]
    assert one.bars.count("M") == one.tokens
    assert one.logprob is not None
    assert one.logprob < 0


@pytest.mark.parametrize(("last", "expected"), [(-1, []), (0, [0]), (1, [0, 1]), (2, [0, 1, 2]), (20, [0, 10, 20])])
def test_first_middle_and_last_generation_are_shown(last: int, expected: list[int]) -> None:
    assert shown_generations(last) == expected


def test_a_density_has_area_one_also_for_equal_samples() -> None:
    grid = np.linspace(-4, 8, 600)
    for sample in (np.random.default_rng(1).normal(2, 1, 500), np.full(50, 2.0)):
        assert np.trapezoid(density(sample, grid), grid) == pytest.approx(1.0, abs=0.01)


def test_mean_surprisal_is_per_sample_and_skips_the_empty() -> None:
    column = pa.chunked_array([[[-1.0, -3.0], [], None], [[-0.5], [float("-inf")]]], type=pa.list_(pa.float32()))
    assert mean_surprisal(column).tolist() == [2.0, 0.5]
    assert mean_surprisal(pa.chunked_array([[[]]], type=pa.list_(pa.float32()))).size == 0


def test_text_for_plotly_and_json_for_scripts_hold_no_markup() -> None:
    assert plotly_text("<b>&amp;\x00") == "&lt;b&gt;&amp;amp;\\x00"
    assert "<" not in script_json({"a": "</script><!--", "b": "\u2028"})
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_numbers_read_like_numbers() -> None:
    assert [number(value) for value in (0.0, 0.0123, 1.254, 14.04, 1234.5)] == [
        "0.00",
        "0.012",
        "1.25",
        "14.0",
        "1,234",
    ]
    assert [percent(value) for value in (0.0, 0.024, 0.313, 1.0)] == ["0%", "2.4%", "31%", "100%"]
    assert change("knowledge/accuracy", 0.88, 0.31) == "-57.0 points"
    assert change("fact/ppl", 1.6, 6.9) == "4.3 times"


def test_the_machine_is_described_with_what_was_chosen_for_it() -> None:
    chosen: dict[str, dict[str, object]] = {
        "devices": {"value": "colocated", "reason": "they fit"},
        "cluster.cells": {"value": 2, "reason": "2 GPUs"},
    }
    assert machine_words({"device": "H200", "choices": chosen}) == ["H200", "devices = colocated", "cluster.cells = 2"]
    usual = {key: {**one, "reason": WITHOUT_GPU} for key, one in chosen.items()}
    assert machine_words({"device": "cpu", "threads": 2, "choices": usual}) == ["2 CPU threads"]
