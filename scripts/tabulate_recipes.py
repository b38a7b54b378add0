"""What the shipped recipes found, from their runs: `recipes/results/*.json` and the table in `recipes/README.md`.

    python scripts/tabulate_recipes.py runs/knowledge-collapse runs/curse-of-recursion    # finished runs: kept and tabulated
    python scripts/tabulate_recipes.py                                                    # the table again from what is kept

A run that compares remedies has a table of its own (`remedy_table.py`).
A result keeps the run's metrics with seeds pooled, what was found about each claim of the paper, the machine and the time.
A claim is judged by an interval over seeds: *reproduced* where it excludes nothing in the paper's direction, *contradicted*
where it does in the other, *not at this scale* where it holds 0. Nothing is typed in by hand.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import remedy_table

from autophage.metrics.intervals import mean_interval
from autophage.metrics.resampling import Estimate
from autophage.metrics.verification import breakdown_point
from autophage.report.courses import course_view
from autophage.report.load import RunFacts, load
from autophage.report.pooling import pooled, pools
from autophage.store.rundir import RunDirectory

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "recipes" / "results", ROOT / "recipes" / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
KEPT = (
    *("knowledge/", "questions/", "format/compliance", "fluency/", "fact/ppl", "onpolicy/entropy"),
    *("text/distinct_2", "tail/", "learner/", "theory/"),
)  # fmt: skip
"""Metrics that are kept, without those of one format of one subject; a run has all."""


@dataclass(frozen=True)
class Finding:
    paper: str
    claim: str
    theirs: str
    ours: str
    verdict: str


@dataclass(frozen=True)
class Study:
    """A finished run: as it is, with seeds pooled, and the seeds of each pooled arm."""

    run: RunDirectory
    facts: RunFacts
    shown: RunFacts
    groups: dict[str, list[str]]

    def change(self, arm: str, metric: str) -> list[float]:
        """The metric's change from generation 0 to the last, for each seed."""
        names = self.groups.get(arm, [arm])
        ends = [self.facts.metrics.ends(name, metric) for name in names]
        return [end.value - start.value for start, end in (one for one in ends if one is not None)]

    def growth(self, arm: str, metric: str) -> list[float]:
        """Of a perplexity: the change of its logarithm, the cross-entropy, which seeds are averaged in."""
        names = self.groups.get(arm, [arm])
        ends = [self.facts.metrics.ends(name, metric) for name in names]
        return [math.log(end.value / start.value) for start, end in (one for one in ends if one is not None)]


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float

    def verdict(self, positive: bool) -> str:
        if self.low > 0 if positive else self.high < 0:
            return "reproduced"
        return "contradicted" if (self.high < 0 if positive else self.low > 0) else "not at this scale"

    def points(self) -> str:
        return f"{100 * self.value:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def growth(self) -> str:
        """Of a change in nats: what it is of the perplexity."""
        value, low, high = (100 * math.expm1(one) for one in (self.value, self.low, self.high))
        return f"{value:+,.1f}% ({low:+,.1f} to {high:+,.1f})"


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean with Student's t interval; without a second seed there is none."""
    low, high = mean_interval(np.array(values)) if len(values) > 1 else (-math.inf, math.inf)
    return Interval(fmean(values), low, high)


def verdict(found: Estimate) -> str:
    """Of a difference that the paper finds positive."""
    return Interval(found.value, found.low, found.high).verdict(positive=True)


def beside(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The difference of two arms, seed by seed."""
    return over_seeds([one - other for one, other in zip(first, second, strict=True)])


KC, CURSE = "2509.04796", "2305.17493"


def knowledge_collapse(study: Study) -> Iterator[Finding]:
    view = course_view(study.run, study.facts, study.shown)
    fall = beside(study.change("alpha-1.0", "questions/accuracy"), study.change("control", "questions/accuracy"))
    form = over_seeds(study.growth("alpha-1.0", "fluency/ppl_form"))
    stages = {(row.arm, row.format): row for row in view.rows}
    shown = {arm: [row for (name, _), row in stages.items() if name == arm and "B" in row.labels] for arm, _ in stages}
    collapses = bool(shown["alpha-1.0"]) and not shown["control"]
    onsets = {arm: sorted(row.labels.index("B") for row in rows) for arm, rows in shown.items()}
    yield Finding(
        KC,
        "On its own text alone a model loses knowledge while it stays fluent (stage B); on human text it does not",
        "100%: A to B early",
        f"four-way accuracy {fall.points()} beyond the control, perplexity of form {form.growth()}; stage B in "
        f"{len(shown['alpha-1.0'])} of 4 formats, in the control in {len(shown['control'])}",
        "reproduced"
        if collapses and fall.high < 0
        else fall.verdict(positive=False)
        if not collapses
        else "not at this scale",
    )
    order = ["alpha-1.0", "alpha-0.5", "alpha-0.25"]
    first = [min(onsets[arm], default=math.inf) for arm in order]
    gap = beside(study.change("alpha-1.0", "questions/accuracy"), study.change("alpha-0.5", "questions/accuracy"))
    yield Finding(
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
    yield Finding(
        KC,
        "The format of a question decides when it collapses",
        "F = 12.67, p < 0.001",
        told.text.removeprefix("alpha-1.0: ").rstrip("."),
        verdict(told.found),
    )


def knowledge_domain(study: Study) -> Iterator[Finding]:
    view = course_view(study.run, study.facts, study.shown)
    told = next(iter(view.domains))
    yield Finding(
        KC,
        "Training on one domain keeps its knowledge longer",
        "slope ratio 15.5, one run each",
        told.text.split("; where")[0],
        verdict(told.found),
    )


def curse_of_recursion(study: Study) -> Iterator[Finding]:
    metric = "fluency/ppl_human"

    def more(arm: str, control: str) -> Interval:
        return beside(study.growth(arm, metric), study.growth(control, metric))

    whole, mixed = "alpha-1.0_epochs-5.0", "alpha-0.9_epochs-10.0"
    rise, kept = more(whole, "control_epochs-5.0"), more(mixed, "control_epochs-10.0")
    yield Finding(
        CURSE,
        "Without original data the perplexity of real text rises",
        "+20 to 28 points over 34, five epochs",
        f"{rise.growth()} beyond the control",
        rise.verdict(positive=True),
    )
    gap = beside(study.growth(whole, metric), study.growth(mixed, metric))
    yield Finding(
        CURSE,
        "A tenth of original data and ten epochs: only minor degradation",
        "minor, in a figure",
        f"{kept.growth()} beyond the control; {gap.growth()} less than without original data",
        gap.verdict(positive=True),
    )
    low, high = (over_seeds(study.growth(whole, f"tail/ppl_under_base{q}")) for q in ("", ".p95"))
    yield Finding(
        CURSE,
        "What is written becomes likelier to model 0, and an unlikely tail appears",
        "histograms",
        f"median perplexity under model 0 {low.growth()}, 95th percentile {high.growth()}",
        "reproduced" if low.high < 0 < high.low else low.verdict(positive=False),
    )


def accumulate_or_replace(study: Study) -> Iterator[Finding]:
    metric = "fact/ppl"
    replaced, heaped = (study.growth(f"pool-{pool}", metric) for pool in ("replace", "accumulate"))
    control = study.growth("control_pool-accumulate", metric)
    gap, rest = beside(replaced, heaped), beside(heaped, control)
    yield Finding(
        "2404.01413",
        "Replacing data collapses, accumulating them does not",
        "cross-entropy 1.82 to 2.39, and to 1.74",
        f"perplexity of facts: replaced {gap.growth()} more than accumulated, which is {rest.growth()} more than the control",
        gap.verdict(positive=True),
    )
    sub = beside(study.growth("pool-accumulate-subsample", metric), heaped)
    less = beside(replaced, study.growth("pool-accumulate-subsample", metric))
    yield Finding(
        "2410.16713",
        "A fixed number drawn from the heap lies between the two",
        "in a figure",
        f"{sub.growth()} more than accumulated, {less.growth()} less than replaced",
        "reproduced" if sub.low > 0 < less.low else "not at this scale" if less.high > 0 else "contradicted",
    )


def rank_hides_collapse(study: Study) -> Iterator[Finding]:
    metric = "knowledge/accuracy"

    def lost(arm: str) -> list[float]:
        return beside_control(study, arm, metric)

    low, full = lost("method-lora_rank-4_chain-restart"), lost("method-full_chain-cumulative")
    gap = beside(low, full)
    yield Finding(
        "an independent LoRA study",
        "Low-rank adapters that begin anew show no collapse where full fine-tuning in a chain does",
        "K0 97.4% at rank 4, 76.8% at 256",
        f"accuracy beyond the control: rank 4 anew {over_seeds(low).points()}, all weights in a chain "
        f"{over_seeds(full).points()}; difference {gap.points()}",
        gap.verdict(positive=True),
    )


def _last(study: Study, arm: str, metric: str) -> Interval:
    point = study.shown.metrics.last(arm, metric)
    assert point is not None
    low, high = (point.value, point.value) if point.interval is None else point.interval
    return Interval(point.value, low, high)


def _shown(found: Interval) -> str:
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def _holds(study: Study, arm: str, name: str) -> bool:
    """Whether the closed form is within the interval of what was measured."""
    measured, theory = _last(study, arm, f"learner/{name}"), _last(study, arm, f"theory/{name}")
    return measured.low <= theory.value <= measured.high


def curse_gaussian(study: Study) -> Iterator[Finding]:
    arm = "count-20"
    about, closed = (_last(study, arm, f"{kind}/variance_about_origin") for kind in ("learner", "theory"))
    yield Finding(
        CURSE,
        "The variance about the origin grows as sigma^2 (1 + n/M) over repetitions",
        f"{closed.value:.3g} at generation {study.facts.generations} of 20 samples",
        _shown(about),
        "reproduced" if _holds(study, arm, "variance_about_origin") else "contradicted",
    )
    median = _last(study, arm, "learner/variance_median")
    yield Finding(
        CURSE,
        "Along almost every path the fitted variance vanishes",
        "to 0 almost surely",
        f"median over paths 1 to {_shown(median)}, closed form {_last(study, arm, 'theory/variance_median').value:.3g}",
        "reproduced" if median.high < 0.5 and _holds(study, arm, "variance_median") else "contradicted",
    )


def curse_mixture(study: Study) -> Iterator[Finding]:
    few, many, control = (_last(study, arm, "learner/l2") for arm in ("count-100", "count-1000", "control_count-100"))
    yield Finding(
        CURSE,
        "A mixture fitted to its own samples leaves the original, sooner with fewer samples",
        "in figures",
        f"L2 distance {_shown(few)} with 100 samples, {_shown(many)} with 1,000, control {_shown(control)}",
        "reproduced" if few.low > max(many.high, control.high) else "not at this scale",
    )


def curse_vae(study: Study) -> Iterator[Finding]:
    own, control = (_last(study, arm, "learner/latent_std") for arm in ("main", "control"))
    yield Finding(
        CURSE,
        "Digits of a VAE blur into one another",
        "spread in latent space 0.70 to 0.46 in 5 generations (released code)",
        f"0.69 to {_shown(own)} in {study.facts.generations} generations of drawn digits, control {_shown(control)}",
        "reproduced" if own.high < control.low else "contradicted",
    )


def curse_ngram(study: Study) -> Iterator[Finding]:
    support = {arm: _last(study, arm, "learner/support").value for arm in ("alpha-1.0", "alpha-0.9", "control")}
    yield Finding(
        CURSE,
        "What is missed once never comes back: the support shrinks, less so with a tenth of original data",
        "absorbing states",
        f"trigrams left {support['alpha-1.0']:,.0f}, with a tenth {support['alpha-0.9']:,.0f}, control {support['control']:,.0f}",
        "reproduced" if support["alpha-1.0"] < support["alpha-0.9"] < support["control"] else "contradicted",
    )


def regression_accumulate(study: Study) -> Iterator[Finding]:
    replaced, heaped = (_last(study, f"pool-{pool}", "learner/test_error") for pool in ("replace", "accumulate"))
    first = study.shown.metrics.at("pool-replace", "learner/test_error", 0)
    assert first is not None
    bound = math.pi**2 / 6 * first.value
    yield Finding(
        "2404.01413",
        "Replaced data add error in each generation; accumulated data keep it under pi^2/6 of the first",
        f"{_last(study, 'pool-replace', 'theory/test_error').value:.3g} and at most {bound:.3g}",
        f"{_shown(replaced)} and {_shown(heaped)}",
        "reproduced" if _holds(study, "pool-replace", "test_error") and heaped.high <= bound else "contradicted",
    )


def verifier_breakdown(study: Study) -> Iterator[Finding]:
    """An arm agrees if its whole interval lies on the side of 1/2 that p* says."""
    sides: dict[bool, list[Interval]] = {True: [], False: []}
    agree, held = True, 0
    for arm in study.shown.treated:
        assert arm.recipe is not None
        learner, last = arm.recipe.learner, _last(study, arm.name, "learner/accuracy")
        below = learner.error < breakdown_point(learner.keep_right, learner.keep_wrong)
        sides[below].append(last)
        agree &= last.low > 0.5 if below else last.high < 0.5
        first = study.shown.metrics.at(arm.name, "learner/accuracy", 0)
        assert first is not None
        assert first.interval is not None
        low, high = first.interval
        held += low <= _last(study, arm.name, "theory/accuracy").value <= high
    recovered, collapsed = (min(sides[True], key=lambda one: one.value), max(sides[False], key=lambda one: one.value))
    yield Finding(
        "2406.07515",
        "Verified labels of its own teach a model the classes if their error rate is below 1 / (1 + psi/phi), else the opposite",
        "accuracy to 1 below, to 0 above",
        f"{len(sides[True])} arms below: at least {_shown(recovered)}; {len(sides[False])} above: at most {_shown(collapsed)}; "
        f"closed form of model 0 in the 95% interval of {held} of {len(study.shown.treated)}",
        "reproduced" if agree else "contradicted",
    )


def beside_control(study: Study, arm: str, metric: str) -> list[float]:
    control = study.shown.control_of(next(one for one in study.shown.arms if one.name == arm))
    assert control is not None
    return [a - b for a, b in zip(study.change(arm, metric), study.change(control.name, metric), strict=True)]


CLAIMS: dict[str, Callable[[Study], Iterator[Finding]]] = {
    "knowledge-collapse": knowledge_collapse,
    "knowledge-domain": knowledge_domain,
    "curse-of-recursion": curse_of_recursion,
    "accumulate-or-replace": accumulate_or_replace,
    "rank-hides-collapse": rank_hides_collapse,
    "curse-gaussian": curse_gaussian,
    "curse-mixture": curse_mixture,
    "curse-vae": curse_vae,
    "curse-ngram": curse_ngram,
    "regression-accumulate": regression_accumulate,
    "verifier-breakdown": verifier_breakdown,
    "remedies": lambda _: iter(()),
}


def result(folder: Path) -> dict[str, Any]:
    run = RunDirectory(folder)
    facts = load(run)
    study = Study(run, facts, pooled(facts), pools(facts))
    rows = [row for row in study.shown.rows if row["arm"] in {arm.name for arm in study.shown.arms}]
    profile = facts.recipe.profile
    seconds = sum(event["seconds"] for event in facts.events if event["kind"] == "run-end")
    return {
        "recipe": facts.recipe.name,
        "profile": profile,
        "command": f"autophage run {facts.recipe.name}"
        + (f" --profile {profile}" if profile not in ("", "tiny") else ""),
        "seconds": round(seconds),
        "environment": {key: facts.environment[key] for key in ("autophage", "cpu_count", "packages", "model")},
        "findings": [asdict(one) for one in CLAIMS[facts.recipe.name](study)],
        "remedies": remedy_table.comparison(run, facts),
        "metrics": [
            {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
            if row["metric"].startswith(KEPT) and row["metric"].count(".") < 2
        ],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| paper | claim | theirs | ours | verdict | command | machine | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(results, key=lambda one: (list(CLAIMS).index(one["recipe"]), one["profile"])):
        device = one["environment"]["model"]["device"]
        machine = f"{one['environment']['cpu_count']} CPU cores" if device == "cpu" else device
        time = f"{one['seconds'] // 60}:{one['seconds'] % 60:02d}"
        lines += [
            f"| {_paper(found['paper'])} | {found['claim']} | {found['theirs']} | {found['ours']} | **{found['verdict']}** | "
            f"`{one['command']}` | {machine} | {time} |"
            for found in one["findings"]
        ]
    return "\n".join(lines)


def _paper(name: str) -> str:
    return f"[{name}](https://arxiv.org/abs/{name})" if name[:4].isdigit() else name


def kept() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def main(folders: Sequence[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    for folder in folders:
        found = result(Path(folder))
        path = RESULTS / f"{'-'.join(filter(None, (found['recipe'], found['profile'])))}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(f"{path.relative_to(ROOT)}: {', '.join(one['verdict'] for one in found['findings'])}")
    results = kept()
    fill(BEGIN, table(results), END)
    fill(remedy_table.BEGIN, "\n\n".join(remedy_table.tables(results)), remedy_table.END)


def fill(begin: str, text: str, end: str) -> None:
    """Put `text` between two marks of the README."""
    page = README.read_text("utf-8")
    README.write_text(f"{page.split(begin)[0]}{begin}\n{text}\n{end}{page.split(end)[1]}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
