"""The plots of the report and their order.

`metric_figures` fills a plan of figures with the metrics that exist. `other_figures` draws every metric that no figure
of the plan contains, so every metric is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from autophage.metrics.questions import GUESS
from autophage.report.facts.catalog import BUCKETS, FORMATS, QUESTION_FORMATS, describe, order, split
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import (
    MEASURED,
    THEORY,
    Figure,
    Panel,
    Plotted,
    metric_panel,
    share_scale,
    trajectory_panel,
)


@dataclass(frozen=True)
class FigurePlan:
    """Title, metrics and lead of a figure.

    `titles` replace the labels of panels if the figure's title says the rest.
    """

    key: str
    title: str
    metrics: tuple[str, ...]
    lead: str = ""
    titles: tuple[str, ...] = ()


RATES = ("speed/sample_tokens_per_second", "speed/train_tokens_per_second")
SHARES_OF_LIGHT = ("speed/sample_of_light", "speed/train_of_light")

PERPLEXITIES = ("fluency/ppl_form", "fact/ppl")
"""Perplexities that share one scale. The claim is that one of them moves and the other does not."""

WORLD_MAIN = FigurePlan(
    "main",
    "Knowledge against fluency",
    ("knowledge/accuracy.torso", *PERPLEXITIES),
    "If accuracy falls while the perplexity of form stays constant, the model still writes well about facts that it no longer "
    "knows. Torso questions ask about people of medium frequency in human text. Both perplexities share one scale.",
    ("Accuracy, torso questions", "", ""),
)
PLACES_MAIN = FigurePlan(
    "main",
    "Knowledge against fluency",
    ("knowledge/accuracy.torso", "knowledge/accuracy.tail", "fluency/ppl_human"),
    "Four-way questions about real places, of which texts name those of the torso less often than the largest, and those of the "
    "tail rarely. A guess is right once in four.",
    ("Accuracy, torso places", "Accuracy, tail places", ""),
)
TEXT_MAIN = FigurePlan(
    "main",
    "Text over generations",
    ("fluency/ppl_human", "onpolicy/entropy", "text/distinct_2"),
    "In a collapse, human text becomes more surprising to the model, and the model's own text becomes narrower.",
)
PLANS = (
    FigurePlan(
        "buckets",
        "Who is forgotten first",
        tuple(f"knowledge/accuracy.{bucket}" for bucket in BUCKETS),
        "People or places of the head appear often in human text, those of the tail rarely. Synthetic text repeats frequent "
        "facts.",
        ("Head", "Torso", "Tail"),
    ),
    FigurePlan(
        "retention",
        "Kept of what model 0 knew",
        tuple(f"knowledge/retention.{bucket}" for bucket in BUCKETS),
        "Only questions that model 0 answered correctly count. Luck is among them: a model that only guesses keeps a quarter. "
        "The control shows what any training on such text changes.",
        ("Head", "Torso", "Tail"),
    ),
    FigurePlan(
        "formats",
        "Effect of the question format",
        tuple(f"knowledge/accuracy.{name}" for name in FORMATS),
        "The same facts, asked in different words. If the panels differ, part of the loss is a loss of form.",
        ("Question and answer", "Cloze", "Few-shot"),
    ),
    FigurePlan(
        "confidence",
        "Confidence and accuracy",
        ("knowledge/accuracy", "knowledge/confidence", "knowledge/confidently_wrong", "knowledge/ece"),
        "If confidence stays high while accuracy falls, the model gives no sign of its loss of knowledge.",
        ("Accuracy, all questions",),
    ),
    FigurePlan(
        "compliance",
        "Format compliance",
        ("format/compliance", *(f"format/compliance.{name}" for name in FORMATS)),
        "A wrong city is a loss of knowledge. A colour in place of a city is a loss of form.",
        ("All formats", "Question and answer", "Cloze", "Few-shot"),
    ),
    FigurePlan(
        "questions",
        "Four-way questions",
        tuple(f"questions/accuracy.{name}" for name in QUESTION_FORMATS),
        "Accuracy may fall to the level of a guess, in some formats earlier than in others. Dotted lines: a guess, and the "
        "accuracy of always choosing the same option.",
        ("Multiple choice", "Few-shot", "Short answer", "No instruction", "Question and answer", "Cloze"),
    ),
    FigurePlan(
        "choices",
        "Answers to the questions",
        (
            "questions/greedy_rate",
            "questions/dominant",
            "questions/compliance",
            "questions/generated_accuracy",
            "questions/entailment",
        ),
        "A model that loses its knowledge first keeps answering in form. It then picks the same option more and more often, and "
        "finally stops answering. Dotted line: the share of the dominant option if every answer were right.",
    ),
    FigurePlan(
        "onpolicy",
        "Certainty while writing",
        ("onpolicy/entropy", "onpolicy/varentropy", "onpolicy/surprisal_gap"),
        "Statistics of the model's whole distribution on its own samples. If entropy falls, the model considers fewer "
        "continuations possible.",
    ),
    FigurePlan(
        "text",
        "Redundancy of the corpora",
        ("text/distinct_2", "text/compression", "text/duplicate", "text/novelty", "text/junk"),
        "Properties of the text alone, without any model.",
    ),
    FigurePlan(
        "diversity",
        "Diversity of samples",
        ("text/self_bleu", "text/vendi", "text/embedding_diversity"),
        "Pairs of samples of one draw. As samples grow alike, Self-BLEU rises and the other two fall.",
    ),
    FigurePlan(
        "tail",
        "Rare tokens and rare samples",
        ("tail/mass_vs_human", "tail/coverage", "tail/mass.unseen", "tail/ppl_under_base", "tail/ppl_under_base.p95"),
        "Tokens that humans use rarely, and samples that model 0 finds unlikely.",
    ),
    FigurePlan(
        "gates",
        "Decisions of the gates",
        ("gate/accepted", "gate/rejected", "gate/weight"),
        "Shares of all samples written. The other figures about corpora cover accepted and rejected samples alike.",
    ),
    FigurePlan(
        "human",
        "Against human text and the base model",
        (
            "fluency/ppl_human",
            "drift/kl_to_base",
            "drift/kl_to_previous",
            "detect/fast_detectgpt",
            "detect/log_rank_ratio",
        ),
    ),
    FigurePlan(
        "anchor",
        "Distance from the anchor",
        ("anchor/kl", "anchor/withheld"),
        "Means over the tokens of a training. Each token is measured before the model learns from it.",
    ),
    FigurePlan(
        "edit",
        "Edited human text",
        ("mix/redrawn", "mix/edited"),
        "Shares of the tokens of human text that the model was trained on. A resampled token often stays the same.",
    ),
)


def metric_figures(facts: Plotted, looks: dict[str, Style], own: Sequence[FigurePlan] = ()) -> list[Figure]:
    """Draw the main figure, then each planned figure that has a metric.

    A metric is drawn in the first figure that names it. For a learner that is not a language model, `own` holds the
    first figures, the main one among them.
    """
    first = own or (_main(facts),)
    used: set[str] = set()
    figures = []
    for plan in (*first, *PLANS):
        names = [name for name in plan.metrics if facts.metrics.has(name) and (name not in used or _repeats(plan))]
        if not names or used.issuperset(names):
            continue
        panels = [_with_baselines(facts, metric_panel(facts, looks, name, _title(plan, name))) for name in names]
        if plan is WORLD_MAIN:
            shared = share_scale([panel for panel in panels if panel.metric in PERPLEXITIES])
            panels = [panel for panel in panels if panel.metric not in PERPLEXITIES] + shared
        figures.append(Figure(plan.key, plan.title, panels, plan.lead))
        used |= set(names)
        if plan is WORLD_MAIN:
            figures += _trajectory(facts, looks)
    return figures


def other_figures(facts: Plotted, looks: dict[str, Style], above: list[Figure]) -> list[Figure]:
    """Draw every metric that no figure `above` draws, one figure for each family.

    A family shares a name without suffixes, such as `knowledge/confidence`. For each subject of questions only the
    accuracy is drawn. The CSV holds the rest.
    """
    drawn = {panel.metric for figure in above for panel in figure.panels}
    families: dict[str, list[str]] = {}
    for name in facts.metrics.names:
        timed = name.startswith("speed/") and name.endswith("_seconds")
        beside = name.startswith(THEORY) and MEASURED + name.removeprefix(THEORY) in drawn
        if name not in drawn and not timed and not beside and not _of_a_subject(name):
            families.setdefault(split(name)[0], []).append(name)
    return [
        Figure(
            f"other-{number}",
            describe(family).label,
            [
                metric_panel(facts, looks, name, ", ".join(split(name)[1]).capitalize())
                for name in sorted(names, key=order)
            ],
        )
        for number, (family, names) in enumerate(families.items())
    ]


def _main(facts: Plotted) -> FigurePlan:
    if not facts.knows_facts:
        return TEXT_MAIN
    return WORLD_MAIN if facts.metrics.has("fluency/ppl_form") else PLACES_MAIN


def _of_a_subject(name: str) -> bool:
    """Return True for a metric of one subject of questions other than its accuracy.

    Of a class of places only the whole is drawn. Each format and subject of it stands in the CSV.
    """
    base, suffixes = split(name)
    if base.startswith("knowledge/") and len(suffixes) > 1 and suffixes[1] not in FORMATS:
        return True
    if not base.startswith("questions/") or not suffixes or suffixes[0] in QUESTION_FORMATS:
        return False
    return len(suffixes) > 1 or base != "questions/accuracy"


def _with_baselines(facts: Plotted, panel: Panel) -> Panel:
    """Return a panel of questions with its baselines: a guess, and always choosing the same option.

    Other panels stay as they are.
    """
    base, suffixes = split(panel.metric)
    if base == "knowledge/accuracy" and not facts.metrics.has("fluency/ppl_form"):
        return replace(panel, traces=[*panel.traces, level(facts, GUESS)])
    if base not in ("questions/accuracy", "questions/dominant"):
        return panel
    always = ".".join(["questions/always_one", *suffixes])
    found = [facts.metrics.last(arm.name, always) for arm in facts.arms]
    values = {GUESS} if base == "questions/accuracy" else set()
    values |= {point.value for point in found if point is not None}
    return replace(panel, traces=panel.traces + [level(facts, value) for value in sorted(values)])


def level(facts: Plotted, value: float) -> dict[str, Any]:
    """Return a dotted horizontal line at `value`, as a plotly trace across the panel."""
    return {
        "x": [0, facts.horizon], "y": [value, value], "type": "scatter", "mode": "lines", "hoverinfo": "skip", "meta": "",
        "line": {"color": "--soft", "dash": "dot", "width": 1},
    }  # fmt: skip


def _trajectory(facts: Plotted, looks: dict[str, Style]) -> list[Figure]:
    panel = trajectory_panel(facts, looks, "fluency/ppl_form", "knowledge/accuracy.torso")
    lead = (
        "Each arm's path from generation 0. Straight down, facts are lost and fluency is kept. To the right, fluency is lost. A "
        "path that stays at its start shows no change."
    )
    return [Figure("trajectory", "Path of each arm", [panel], lead, wide=True)] if panel else []


def _repeats(plan: FigurePlan) -> bool:
    """Return True for a figure that draws a metric again: that of buckets, for the torso beside the others."""
    return plan.key == "buckets"


def _title(plan: FigurePlan, name: str) -> str:
    place = plan.metrics.index(name)
    return plan.titles[place] if place < len(plan.titles) else ""
