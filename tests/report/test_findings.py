"""Sentences state the run's numbers. A change inside the intervals is not called one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from autophage.report.facts.load import RunFacts, load
from autophage.report.facts.series import Metrics, Point, apart
from autophage.report.facts.words import percent
from autophage.report.findings import findings
from autophage.report.observations import observations
from autophage.store.manifest import read_manifest, write_manifest
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

MakeRun = Callable[..., RunDirectory]
TORSO = "knowledge/accuracy.torso"


def row(arm: str, generation: int, metric: str, value: float, half: float | None = 0.02) -> dict[str, object]:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {
        "arm": arm, "generation": generation, "metric": metric, "value": value, "low": low, "high": high, "n": 400
    }  # fmt: skip


def with_rows(facts: RunFacts, rows: list[dict[str, object]]) -> RunFacts:
    """The same run with other numbers."""
    return RunFacts(**{**vars(facts), "metrics": Metrics(rows), "rows": rows})


@pytest.fixture
def facts(world_run: RunDirectory) -> RunFacts:
    return load(world_run)


def texts(facts: RunFacts) -> dict[str | None, str]:
    return {finding.arm: finding.text for finding in findings(facts)}


def test_the_sentence_of_an_arm_has_the_numbers_of_the_table(facts: RunFacts) -> None:
    start, end = facts.metrics.ends("alpha-1.0", TORSO) or (None, None)
    assert start is not None
    assert end is not None
    expected = (
        f"After 5 generations on its own text, alpha-1.0 answers {percent(end.value)} of torso questions correctly"
    )
    assert texts(facts)["alpha-1.0"].startswith(f"{expected} (generation 0: {percent(start.value)})")
    assert "1.25 \u2192 1.31 (+5%)" in texts(facts)["alpha-1.0"]
    assert "a mixture with 50% of its own text" in texts(facts)["alpha-0.5"]


def test_a_change_inside_the_intervals_is_said_to_be_inside(facts: RunFacts) -> None:
    near = [row("alpha-1.0", 0, TORSO, 0.88), row("alpha-1.0", 5, TORSO, 0.86)]
    assert "the 95% intervals overlap" in texts(with_rows(facts, near))["alpha-1.0"]
    far = [row("alpha-1.0", 0, TORSO, 0.88), row("alpha-1.0", 5, TORSO, 0.80)]
    assert "overlap" not in texts(with_rows(facts, far))["alpha-1.0"]
    bare = [row("alpha-1.0", 0, TORSO, 0.88, None), row("alpha-1.0", 5, TORSO, 0.3, None)]
    assert "no interval" in texts(with_rows(facts, bare))["alpha-1.0"]


def test_the_control_gets_its_sentence(facts: RunFacts) -> None:
    assert texts(facts)["control"].startswith("The control arm, trained the same way on human text, answers ")


def test_one_measured_generation_allows_no_talk_of_change(facts: RunFacts) -> None:
    found = findings(with_rows(facts, [row("alpha-1.0", 0, TORSO, 0.88)]))
    assert [f.text for f in found] == [
        "Only generation 0 is measured: alpha-1.0 answers 88% of torso questions correctly. A change needs a second generation."
    ]


def test_a_text_run_is_told_in_perplexity_entropy_and_bigrams(make_run: MakeRun, text_recipe: str) -> None:
    found = texts(load(make_run(recipe=text_recipe)))
    assert "perplexity of held-out human text 14.0 \u2192" in found["main"]
    assert "entropy of its own text 1.90 \u2192" in found["main"]
    assert "share of distinct bigrams 0.61 \u2192" in found["main"]
    assert "control" in found


def test_a_control_that_moved_is_pointed_out(facts: RunFacts) -> None:
    assert not any("control moved too" in text for text in observations(facts))
    moved = [row(arm, g, TORSO, 0.9 - 0.1 * g) for arm in ("alpha-1.0", "control") for g in (0, 5)]
    told = observations(with_rows(facts, moved))
    assert any("The control moved too (control by -50.0 points)" in text for text in told)
    assert any("no difference from the control for alpha-1.0 (generation 5)" in text for text in told)


def test_a_loss_with_fluency_is_told_from_a_loss_of_language(facts: RunFacts) -> None:
    lost = [row("alpha-1.0", 0, TORSO, 0.9), row("alpha-1.0", 5, TORSO, 0.3)]
    fluent = [row("alpha-1.0", 0, "fluency/ppl_form", 1.25), row("alpha-1.0", 5, "fluency/ppl_form", 1.31)]
    broken = [row("alpha-1.0", 0, "fluency/ppl_form", 1.25), row("alpha-1.0", 5, "fluency/ppl_form", 2.5)]
    assert any("Stayed fluent" in text for text in observations(with_rows(facts, lost + fluent)))
    told = observations(with_rows(facts, lost + broken))
    assert any("not one of knowledge alone" in text for text in told)
    assert not any("Stayed fluent" in text for text in told)


def test_the_order_of_forgetting_is_read_from_the_intervals(facts: RunFacts) -> None:
    falls = {"head": (0.9, 0.9, 0.9), "torso": (0.9, 0.89, 0.5), "tail": (0.6, 0.4, 0.2)}
    rows = [
        row("alpha-1.0", generation, f"knowledge/accuracy.{bucket}", value)
        for bucket, values in falls.items()
        for generation, value in enumerate(values)
    ]
    told = observations(with_rows(facts, rows))
    assert any("in alpha-1.0, tail at generation 1 and torso at generation 2" in text for text in told)


def test_values_that_are_not_finite_are_counted_not_drawn(facts: RunFacts) -> None:
    rows = [row("alpha-1.0", 0, TORSO, 0.9), row("alpha-1.0", 1, "fact/ppl", float("inf"))]
    changed = with_rows(facts, rows)
    assert changed.metrics.left_out == 1
    assert changed.metrics.series("alpha-1.0", "fact/ppl") == []
    assert any(text.startswith("1 value is not finite.") for text in observations(changed))


def test_a_parent_that_is_another_generation_is_pointed_out(world_run: RunDirectory) -> None:
    folder = world_run.generation("control", 2)
    manifest = read_manifest(folder)
    assert manifest is not None
    write_manifest(folder, replace(manifest, level="best-effort"))
    told = observations(load(world_run))
    assert any("control: the recorded parent of generation 3 is not the generation before it" in text for text in told)


def test_metrics_that_the_table_lacks_are_read_from_the_generations(world_run: RunDirectory) -> None:
    world_run.metrics.unlink()
    assert load(world_run).metrics.last("control", TORSO) is not None


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.5, 0.6, False), (0.61, 0.7, True), (math.nan, math.nan, None), (0.3, 0.45, True)]
)
def test_intervals_are_apart_only_without_a_common_value(low: float, high: float, expected: bool | None) -> None:
    assert apart(Point(0.55, 0.5, 0.6), Point(0.5, low, high, generation=1)) is expected
