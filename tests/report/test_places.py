"""Runs that ask about real places: figures, sentences, and a model that only guesses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.report.facts.load import RunFacts, load
from autophage.report.facts.series import Metrics
from autophage.report.figures.colours import styles
from autophage.report.figures.planned import metric_figures, other_figures
from autophage.report.findings import findings
from autophage.report.hero import draw
from autophage.report.observations import observations
from autophage.report.tables import headline_table
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

QUESTIONS = '\n[questions]\nkind = "places"\nformats = ["cloze"]\n'
BUCKETS = {"head": 0.9, "torso": 0.7, "tail": 0.6}


def rows(arm: str, generation: int, *, guesses: tuple[str, ...] = ()) -> list[dict[str, object]]:
    fall = 0.05 * generation
    found = {"fluency/ppl_human": 50.0 + generation, "knowledge/accuracy": 0.7 - fall}
    for bucket, start in BUCKETS.items():
        for suffix in ("", ".cloze", ".cities"):
            found[f"knowledge/accuracy.{bucket}{suffix}"] = start - fall
            if bucket not in guesses:
                found[f"knowledge/retention.{bucket}{suffix}"] = 1.0 - fall
    common = {"arm": arm, "generation": generation, "n": 100}
    return [
        {**common, "metric": name, "value": value, "low": value - 0.02, "high": value + 0.02}
        for name, value in found.items()
    ]


@pytest.fixture
def facts(make_run: Callable[..., RunDirectory], text_recipe: str) -> RunFacts:
    return load(make_run(recipe=text_recipe + QUESTIONS))


def measured(facts: RunFacts, **changes: tuple[str, ...]) -> RunFacts:
    found = [row for arm in facts.arms for generation in (0, 5) for row in rows(arm.name, generation, **changes)]
    return RunFacts(**{**vars(facts), "metrics": Metrics(found), "rows": found})


def test_figures_show_classes_and_what_was_kept(facts: RunFacts) -> None:
    shown = measured(facts)
    looks = styles([(arm.name, arm.control) for arm in shown.arms])
    figures = metric_figures(shown, looks)
    names = {figure.key: [panel.metric for panel in figure.panels] for figure in figures}
    assert names["main"] == ["knowledge/accuracy.torso", "knowledge/accuracy.tail", "fluency/ppl_human"]
    assert names["buckets"] == [f"knowledge/accuracy.{bucket}" for bucket in BUCKETS]
    assert names["retention"] == [f"knowledge/retention.{bucket}" for bucket in BUCKETS]
    others = [panel.metric for figure in other_figures(shown, looks, figures) for panel in figure.panels]
    assert not any(name.endswith(".cities") for name in others)
    assert "Accuracy, torso questions" in draw(shown)
    assert "Perplexity of human text" in draw(shown)


def test_sentences_tell_knowledge_beside_fluency(facts: RunFacts) -> None:
    shown = measured(facts)
    (first, *_) = (one.text for one in findings(shown) if one.arm == shown.treated[0].name)
    assert "answers 45% of torso questions correctly (generation 0: 70%)" in first
    assert "Perplexity of human text: 50.0 \u2192 55.0" in first
    labels = [label for label, _ in headline_table(shown)]
    assert "Retention, tail" in labels
    assert not any("only guesses" in text for text in observations(shown))


def test_a_model_that_knows_nothing_is_told(facts: RunFacts) -> None:
    shown = measured(facts, guesses=("torso", "tail"))
    (text,) = (one for one in observations(shown) if "only guesses" in one)
    assert "(torso and tail)" in text
    assert "nothing to lose there" in text
