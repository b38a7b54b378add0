"""Claims of papers on language models, judged by runs of their recipes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autophage.report.courses import course_view
from claims.study import CURSE, Interval, Judged, Study, beside, beside_control, over_seeds

KC = "2509.04796"
"""arXiv identifier of *Knowledge Collapse in LLMs*."""


def knowledge_collapse(study: Study) -> Iterator[Judged]:
    view = course_view(study.run, study.facts, study.shown)
    fall = beside(study.change("alpha-1.0", "questions/accuracy"), study.change("control", "questions/accuracy"))
    form = over_seeds(study.growth("alpha-1.0", "fluency/ppl_form"))
    onsets: dict[str, list[int]] = {}
    for (arm, _), labels in view.labels.items():
        onsets.setdefault(arm, []).extend([labels.index("B")] if "B" in labels else [])
    collapses = bool(onsets["alpha-1.0"]) and not onsets["control"]
    yield Judged(
        KC,
        "On its own text alone a model loses knowledge while it stays fluent (stage B); on human text it does not",
        "100%: A to B early",
        f"four-way accuracy {fall.points()} beyond the control, perplexity of form {form.growth()}; stage B in "
        f"{len(onsets['alpha-1.0'])} of 4 formats, in the control in {len(onsets['control'])}",
        "reproduced"
        if collapses and fall.high < 0
        else fall.verdict(positive=False)
        if not collapses
        else "not at this scale",
    )
    order = ["alpha-1.0", "alpha-0.5", "alpha-0.25"]
    first = [min(onsets[arm], default=math.inf) for arm in order]
    gap = beside(study.change("alpha-1.0", "questions/accuracy"), study.change("alpha-0.5", "questions/accuracy"))
    yield Judged(
        KC,
        "The less synthetic text, the later the collapse",
        "25%: late; 50%: mid-run; 100%: early",
        "first onset of B at "
        + ", ".join(f"{arm}: {'never' if math.isinf(g) else g}" for arm, g in zip(order, first, strict=True))
        + f"; accuracy at 100% {gap.points()} against 50%",
        "reproduced"
        if first == sorted(first) and first[0] < first[1] and gap.high < 0
        else gap.verdict(positive=False),
    )
    told = next(one for one in view.formats if one.arm == "alpha-1.0")
    yield Judged(
        KC,
        "The format of a question decides when it collapses",
        "F = 12.67, p < 0.001",
        told.text.removeprefix("alpha-1.0: ").rstrip("."),
        Interval(told.found.value, told.found.low, told.found.high).verdict(positive=True),
    )


def knowledge_domain(study: Study) -> Iterator[Judged]:
    view = course_view(study.run, study.facts, study.shown)
    told = next(iter(view.domains))
    yield Judged(
        KC,
        "Training on one domain keeps its knowledge longer",
        "slope ratio 15.5, one run each",
        told.text.split(" Prefer")[0].rstrip("."),
        Interval(told.found.value, told.found.low, told.found.high).verdict(positive=True),
    )


def curse_of_recursion(study: Study) -> Iterator[Judged]:
    metric = "fluency/ppl_human"

    def more(arm: str, control: str) -> Interval:
        return beside(study.growth(arm, metric), study.growth(control, metric))

    whole, mixed = "alpha-1.0_epochs-5.0", "alpha-0.9_epochs-10.0"
    rise, kept = more(whole, "control_epochs-5.0"), more(mixed, "control_epochs-10.0")
    yield Judged(
        CURSE,
        "Without original data the perplexity of real text rises",
        "+20 to 28 points over 34, five epochs",
        f"{rise.growth()} beyond the control",
        rise.verdict(positive=True),
    )
    gap = beside(study.growth(whole, metric), study.growth(mixed, metric))
    yield Judged(
        CURSE,
        "A tenth of original data and ten epochs: only minor degradation",
        "minor, in a figure",
        f"{kept.growth()} beyond the control; {gap.growth()} less than without original data",
        gap.verdict(positive=True),
    )
    low, high = (over_seeds(study.growth(whole, f"tail/ppl_under_base{q}")) for q in ("", ".p95"))
    yield Judged(
        CURSE,
        "What is written becomes likelier to model 0, and an unlikely tail appears",
        "histograms",
        f"median perplexity under model 0 {low.growth()}, 95th percentile {high.growth()}",
        "reproduced" if low.high < 0 < high.low else low.verdict(positive=False),
    )


def accumulate_or_replace(study: Study) -> Iterator[Judged]:
    metric = "fact/ppl"
    replaced, heaped = (study.growth(f"pool-{pool}", metric) for pool in ("replace", "accumulate"))
    control = study.growth("control_pool-accumulate", metric)
    gap, rest = beside(replaced, heaped), beside(heaped, control)
    yield Judged(
        "2404.01413",
        "Replacing data collapses, accumulating them does not",
        "cross-entropy 1.82 to 2.39, and to 1.74",
        f"perplexity of facts: replaced {gap.growth()} more than accumulated, which is {rest.growth()} more than the control",
        gap.verdict(positive=True),
    )
    sub = beside(study.growth("pool-accumulate-subsample", metric), heaped)
    less = beside(replaced, study.growth("pool-accumulate-subsample", metric))
    yield Judged(
        "2410.16713",
        "A fixed number drawn from the heap lies between the two",
        "in a figure",
        f"{sub.growth()} more than accumulated, {less.growth()} less than replaced",
        "reproduced" if sub.low > 0 < less.low else "not at this scale" if less.high > 0 else "contradicted",
    )


def rank_hides_collapse(study: Study) -> Iterator[Judged]:
    metric = "knowledge/accuracy"

    def lost(arm: str) -> list[float]:
        return beside_control(study, arm, metric)

    low, full = lost("method-lora_rank-4_chain-restart"), lost("method-full_chain-cumulative")
    gap = beside(low, full)
    yield Judged(
        "an independent LoRA study",
        "Low-rank adapters that begin anew show no collapse where full fine-tuning in a chain does",
        "K0 97.4% at rank 4, 76.8% at 256",
        f"accuracy beyond the control: rank 4 anew {over_seeds(low).points()}, all weights in a chain "
        f"{over_seeds(full).points()}; difference {gap.points()}",
        gap.verdict(positive=True),
    )
