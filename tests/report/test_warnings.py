"""Early warnings of the report: its metrics, its controls and its wording."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.metrics.warning import EarlyWarning
from autophage.report import write_report
from autophage.report.facts.load import RunFacts, load
from autophage.report.facts.series import Metrics
from autophage.report.warnings import warning_facts, warning_view
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

MakeRun = Callable[..., RunDirectory]
ENTROPY, TORSO, HUMAN = "onpolicy/entropy", "knowledge/accuracy.torso", "fluency/ppl_human"
NOISE = (0.0, 0.01, -0.01, 0.01, 0.0, -0.01)
SEEDS = """\
name = "{name}"
generations = {generations}
[source]
kind = "world"
[sweep]
"seed" = [1, 2]
"""


def rows(arm: str, metric: str, fires: int | None, size: float = 0.01) -> list[dict[str, object]]:
    """Level 1 with the control's noise, and 0 from generation `fires` on."""
    return [
        {
            "arm": arm,
            "generation": g,
            "metric": metric,
            "value": value,
            "low": value - size,
            "high": value + size,
            "n": 9,
        }
        for g, noise in enumerate(NOISE)
        for value in [1 + noise if fires is None or g < fires else 0.0]
    ]


def with_rows(facts: RunFacts, rows: list[dict[str, object]]) -> RunFacts:
    return RunFacts(**{**vars(facts), "metrics": Metrics(rows), "rows": rows})


@pytest.fixture
def facts(world_run: RunDirectory) -> RunFacts:
    return load(world_run)


def told(facts: RunFacts) -> RunFacts:
    controls = [row for metric in (ENTROPY, TORSO, HUMAN) for row in rows("control", metric, None)]
    arm = rows("alpha-1.0", ENTROPY, 1) + rows("alpha-1.0", TORSO, 3) + rows("alpha-1.0", HUMAN, None)
    return with_rows(facts, controls + arm)


def test_the_sentence_says_what_saw_it_when(facts: RunFacts) -> None:
    (sentence,) = warning_view(told(facts)).sentences
    assert sentence.startswith(
        "In alpha-1.0, entropy warned at generation 1, torso accuracy at 3. Perplexity of human text never warned."
    )
    assert sentence.endswith("Earliest of 3 metrics, at generation 1: Entropy.")


def test_the_table_has_the_metrics_that_fired_earliest_first(facts: RunFacts) -> None:
    view = warning_view(told(facts))
    assert view.arms == ["alpha-1.0"]
    assert [(row.name, [cell.text for cell in row.cells]) for row in view.rows] == [
        ("Entropy", ["1 \u2193"]),
        ("Accuracy (torso)", ["3 \u2193"]),
    ]
    assert view.never == "Perplexity of human text"


def test_metrics_of_one_format_and_of_speed_are_not_asked(facts: RunFacts) -> None:
    extra = [
        row
        for arm, fires in (("alpha-1.0", 1), ("control", None))
        for metric in ("speed/sample_seconds", "knowledge/accuracy.torso.cloze", "format/compliance.few-shot")
        for row in rows(arm, metric, fires)
    ]
    before = told(facts)
    asked = warning_facts(with_rows(facts, before.rows + extra))["ranking"]
    assert asked == warning_facts(before)["ranking"] == [ENTROPY, TORSO, HUMAN]


def test_without_a_control_it_says_that_nothing_can_be_said(facts: RunFacts) -> None:
    arms = [arm for arm in facts.arms if not arm.control]
    alone = RunFacts(**{**vars(told(facts)), "arms": arms})
    view = warning_view(alone)
    assert view.sentences == ["alpha-1.0 cannot be judged yet: no control."]
    assert view.rows == []


def test_nothing_fired_is_said_too(facts: RunFacts) -> None:
    quiet = with_rows(facts, rows("alpha-1.0", ENTROPY, None) + rows("control", ENTROPY, None))
    (sentence,) = warning_view(quiet).sentences
    assert sentence == "In alpha-1.0, none of 1 metric left the control's band for good."


def test_every_arm_has_its_own_control_and_seeds_are_ranked_together(make_run: MakeRun) -> None:
    facts = load(make_run(recipe=SEEDS))
    treated, controls = [arm.name for arm in facts.treated], [arm.name for arm in facts.controls]
    assert (len(treated), len(controls)) == (2, 2)
    made = [row for control in controls for metric in (ENTROPY, TORSO) for row in rows(control, metric, None)]
    made += rows(treated[0], ENTROPY, 1) + rows(treated[0], TORSO, 2)
    made += rows(treated[1], ENTROPY, 3) + rows(treated[1], TORSO, 1)
    found = warning_facts(with_rows(facts, made))
    assert found["ranking"] == [TORSO, ENTROPY]
    assert {arm: [one["generation"] for one in mine] for arm, mine in found["arms"].items()} == {
        treated[0]: [1, 2],
        treated[1]: [1, 3],
    }


def test_json_has_every_verdict_and_the_rule(facts: RunFacts) -> None:
    found = warning_facts(told(facts))
    assert (found["false_alarms"], found["stay"]) == (0.05, 2)
    first = found["arms"]["alpha-1.0"][0]
    assert first == {**vars(EarlyWarning(ENTROPY, 1, -1)), "margin": first["margin"]}
    assert first["margin"] > 1


def test_the_page_shows_it(world_run: RunDirectory) -> None:
    page = write_report(world_run).read_text("utf-8")
    assert "Which metric warned first" in page
    assert "In alpha-1.0, " in page
    assert 'href="#warning"' in page


@pytest.mark.parametrize("last", [-1, 0])
def test_a_run_that_has_hardly_begun_has_no_section_that_claims(make_run: MakeRun, last: int) -> None:
    facts = load(make_run(reached=dict.fromkeys(("alpha-1.0", "alpha-0.5", "control"), last), ended=False))
    view = warning_view(facts)
    assert view.rows == []
    assert all("cannot be judged" in sentence for sentence in view.sentences)
