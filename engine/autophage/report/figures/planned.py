"""Which plots the report has, and in which order: a plan of figures, filled with the metrics that exist.

Pure. Every metric is drawn once: what no figure claims goes to `other_figure`, so that nothing measured stays hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from autophage.report.facts.catalog import BUCKETS, FORMATS, GUESS, QUESTION_FORMATS, describe, order, split
from autophage.report.facts.load import RunFacts
from autophage.report.figures.colours import Style
from autophage.report.figures.panels import MEASURED, THEORY, Figure, Panel, metric_panel, share_scale, trajectory_panel


@dataclass(frozen=True)
class FigurePlan:
    """`titles` shorten a panel's label where the figure's title says the rest."""

    key: str
    title: str
    metrics: tuple[str, ...]
    lead: str = ""
    titles: tuple[str, ...] = ()


TIMING_METRICS = ("speed/sample_tokens_per_second", "speed/train_tokens_per_second")

PERPLEXITIES = ("fluency/ppl_form", "fact/ppl")
"""Drawn on one scale, because the claim is that one of them moves and the other does not."""

WORLD_MAIN = FigurePlan(
    "main",
    "Knowledge against fluency",
    ("knowledge/accuracy.torso", *PERPLEXITIES),
    "Does accuracy fall while the perplexity of form stands still? Then the model still writes well about what it no "
    "longer knows. The two perplexities share one scale.",
    ("Accuracy, torso questions", "", ""),
)
TEXT_MAIN = FigurePlan(
    "main",
    "Text over generations",
    ("fluency/ppl_human", "onpolicy/entropy", "text/distinct_2"),
    "Does human text become surprising to the model while its own text becomes narrower?",
)
PLANS = (
    FigurePlan(
        "buckets",
        "Who is forgotten first",
        tuple(f"knowledge/accuracy.{bucket}" for bucket in BUCKETS),
        "Head people appear often in human text, tail people rarely. Synthetic text repeats what is frequent.",
        ("Head", "Torso", "Tail"),
    ),
    FigurePlan(
        "formats",
        "Does the way of asking decide?",
        tuple(f"knowledge/accuracy.{name}" for name in FORMATS),
        "The same facts, asked in other words. Where the panels differ, some of the loss is a matter of form.",
        ("Question and answer", "Cloze", "Few-shot"),
    ),
    FigurePlan(
        "confidence",
        "Does it know that it no longer knows?",
        ("knowledge/accuracy", "knowledge/confidence", "knowledge/confidently_wrong", "knowledge/ece"),
        "Confidence that stays up while accuracy falls is the costly kind of collapse.",
        ("Accuracy, all questions",),
    ),
    FigurePlan(
        "compliance",
        "Format compliance",
        ("format/compliance", *(f"format/compliance.{name}" for name in FORMATS)),
        "A wrong city is lost knowledge; a colour for a city is lost form.",
        ("All formats", "Question and answer", "Cloze", "Few-shot"),
    ),
    FigurePlan(
        "questions",
        "Four-way questions",
        tuple(f"questions/accuracy.{name}" for name in QUESTION_FORMATS),
        "Does accuracy fall to a guess, and in which words first? Dotted: a guess, and answering always the same option.",
        ("Multiple choice", "Few-shot", "Short answer", "No instruction"),
    ),
    FigurePlan(
        "choices",
        "How the questions are answered",
        (
            "questions/greedy_rate",
            "questions/dominant",
            "questions/compliance",
            "questions/generated_accuracy",
            "questions/entailment",
        ),
        "A model that loses its knowledge first keeps answering in form, then picks the same option ever more often, and in the "
        "end no longer answers. Dotted: what the dominant option would be if every answer were right.",
    ),
    FigurePlan(
        "onpolicy",
        "How sure the model is while it writes",
        ("onpolicy/entropy", "onpolicy/varentropy", "onpolicy/surprisal_gap"),
        "Of the model's whole distribution, on its own samples. Falling entropy: ever fewer continuations are thought "
        "possible.",
    ),
    FigurePlan(
        "text",
        "What the corpora look like",
        ("text/distinct_2", "text/compression", "text/duplicate", "text/novelty", "text/junk"),
        "Redundancy of what was written, whatever the model believes of it.",
    ),
    FigurePlan(
        "diversity",
        "How different samples are from one another",
        ("text/self_bleu", "text/vendi", "text/embedding_diversity"),
        "Pairs of samples of one draw. Self-BLEU rises where samples grow alike; the other two fall.",
    ),
    FigurePlan(
        "tail",
        "What becomes of the rare",
        ("tail/mass_vs_human", "tail/coverage", "tail/mass.unseen", "tail/ppl_under_base", "tail/ppl_under_base.p95"),
        "Tokens that humans use rarely, and samples that model 0 finds unlikely.",
    ),
    FigurePlan(
        "gates",
        "What gates let through",
        ("gate/accepted", "gate/rejected", "gate/weight"),
        "Of all that was written. What the other figures say of corpora is of accepted and rejected samples alike.",
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
        "Held while learning",
        ("anchor/kl", "anchor/withheld"),
        "Means over the tokens of a training, each as the model saw it before it learnt from it.",
    ),
    FigurePlan(
        "edit",
        "Human text, edited",
        ("mix/redrawn", "mix/edited"),
        "Of the human text that a model was trained on, in tokens. A token that is drawn anew is often the same one again.",
    ),
)


def metric_figures(facts: RunFacts, looks: dict[str, Style], own: Sequence[FigurePlan] = ()) -> list[Figure]:
    """The main figure first, then every planned figure that has a metric; a metric is drawn where it is first named.

    `own` are the first figures of a run that is not of language models, the main one among them.
    """
    first = own or (WORLD_MAIN if facts.knows_facts else TEXT_MAIN,)
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


def other_figures(facts: RunFacts, looks: dict[str, Style], above: list[Figure]) -> list[Figure]:
    """One group of small plots per family (`knowledge/confidence`, ...) of the metrics that no figure `above` draws.

    Of each subject that questions ask about only the accuracy is drawn; the table of all numbers has the rest.
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


def _of_a_subject(name: str) -> bool:
    """Whether a metric is one of many that questions have for each subject, other than its accuracy."""
    base, suffixes = split(name)
    if not base.startswith("questions/") or not suffixes or suffixes[0] in QUESTION_FORMATS:
        return False
    return len(suffixes) > 1 or base != "questions/accuracy"


def _with_baselines(facts: RunFacts, panel: Panel) -> Panel:
    """The panel with what it is to be held against: for questions, a guess and answering always the same option."""
    base, suffixes = split(panel.metric)
    if base not in ("questions/accuracy", "questions/dominant"):
        return panel
    always = ".".join(["questions/always_one", *suffixes])
    found = [facts.metrics.last(arm.name, always) for arm in facts.arms]
    values = {GUESS} if base == "questions/accuracy" else set()
    values |= {point.value for point in found if point is not None}
    return replace(panel, traces=panel.traces + [_level(facts, value) for value in sorted(values)])


def _level(facts: RunFacts, value: float) -> dict[str, Any]:
    """A dotted line across the panel."""
    return {
        "x": [0, facts.horizon], "y": [value, value], "type": "scatter", "mode": "lines", "hoverinfo": "skip", "meta": "",
        "line": {"color": "--soft", "dash": "dot", "width": 1},
    }  # fmt: skip


def _trajectory(facts: RunFacts, looks: dict[str, Style]) -> list[Figure]:
    panel = trajectory_panel(facts, looks, "fluency/ppl_form", "knowledge/accuracy.torso")
    lead = (
        "Each arm's path from generation 0. Straight down: facts are lost and fluency is kept. To the right: language "
        "itself comes apart. A knot that stays where it began: nothing happened."
    )
    return [Figure("trajectory", "The way each arm went", [panel], lead, wide=True)] if panel else []


def _repeats(plan: FigurePlan) -> bool:
    """The buckets are read side by side, so the torso panel stands there again."""
    return plan.key == "buckets"


def _title(plan: FigurePlan, name: str) -> str:
    place = plan.metrics.index(name)
    return plan.titles[place] if place < len(plan.titles) else ""
