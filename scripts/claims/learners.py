"""Claims about learners in closed form, judged by runs of their recipes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autophage.metrics.verification import breakdown_point
from claims.study import CURSE, Interval, Judged, Study


def curse_gaussian(study: Study) -> Iterator[Judged]:
    arm = "count-20"
    about, closed = (study.last(arm, f"{kind}/variance_about_origin") for kind in ("learner", "theory"))
    yield Judged(
        CURSE,
        "The variance about the origin grows as sigma^2 (1 + n/M) over repetitions",
        f"{closed.value:.3g} at generation {study.facts.generations} of 20 samples",
        about.digits(),
        "reproduced" if study.agrees(arm, "variance_about_origin") else "contradicted",
    )
    median = study.last(arm, "learner/variance_median")
    yield Judged(
        CURSE,
        "Along almost every path the fitted variance vanishes",
        "to 0 almost surely",
        f"median over paths 1 to {median.digits()}, closed form {study.last(arm, 'theory/variance_median').value:.3g}",
        "reproduced" if median.high < 0.5 and study.agrees(arm, "variance_median") else "contradicted",
    )


def curse_mixture(study: Study) -> Iterator[Judged]:
    few, many, control = (study.last(arm, "learner/l2") for arm in ("count-100", "count-1000", "control_count-100"))
    yield Judged(
        CURSE,
        "A mixture fitted to its own samples leaves the original, sooner with fewer samples",
        "in figures",
        f"L2 distance {few.digits()} with 100 samples, {many.digits()} with 1,000, control {control.digits()}",
        "reproduced" if few.low > max(many.high, control.high) else "not at this scale",
    )


def curse_vae(study: Study) -> Iterator[Judged]:
    own, control = (study.last(arm, "learner/latent_std") for arm in ("main", "control"))
    yield Judged(
        CURSE,
        "Digits of a VAE blur into one another",
        "spread in latent space 0.70 to 0.46 in 5 generations (released code)",
        f"0.69 to {own.digits()} in {study.facts.generations} generations of drawn digits, control {control.digits()}",
        "reproduced" if own.high < control.low else "contradicted",
    )


def curse_ngram(study: Study) -> Iterator[Judged]:
    support = {arm: study.last(arm, "learner/support").value for arm in ("alpha-1.0", "alpha-0.9", "control")}
    yield Judged(
        CURSE,
        "What is missed once never comes back: the support shrinks, less so with a tenth of original data",
        "absorbing states",
        f"trigrams left {support['alpha-1.0']:,.0f}, with a tenth {support['alpha-0.9']:,.0f}, control {support['control']:,.0f}",
        "reproduced" if support["alpha-1.0"] < support["alpha-0.9"] < support["control"] else "contradicted",
    )


def regression_accumulate(study: Study) -> Iterator[Judged]:
    replaced, heaped = (study.last(f"pool-{pool}", "learner/test_error") for pool in ("replace", "accumulate"))
    bound = math.pi**2 / 6 * study.first("pool-replace", "learner/test_error").value
    yield Judged(
        "2404.01413",
        "Replaced data add error in each generation; accumulated data keep it under pi^2/6 of the first",
        f"{study.last('pool-replace', 'theory/test_error').value:.3g} and at most {bound:.3g}",
        f"{replaced.digits()} and {heaped.digits()}",
        "reproduced" if study.agrees("pool-replace", "test_error") and heaped.high <= bound else "contradicted",
    )


def verifier_breakdown(study: Study) -> Iterator[Judged]:
    """An arm agrees if its whole interval lies on the side of 1/2 that p* predicts."""
    sides: dict[bool, list[Interval]] = {True: [], False: []}
    agree, held = True, 0
    for arm in study.shown.treated:
        assert arm.recipe is not None
        learner, last = arm.recipe.learner, study.last(arm.name, "learner/accuracy")
        below = learner.error < breakdown_point(learner.keep_right, learner.keep_wrong)
        sides[below].append(last)
        agree &= last.low > 0.5 if below else last.high < 0.5
        first = study.first(arm.name, "learner/accuracy")
        held += first.low <= study.last(arm.name, "theory/accuracy").value <= first.high
    recovered, collapsed = (min(sides[True], key=lambda one: one.value), max(sides[False], key=lambda one: one.value))
    yield Judged(
        "2406.07515",
        "Verified labels of its own teach a model the classes if their error rate is below 1 / (1 + psi/phi), else the opposite",
        "accuracy to 1 below, to 0 above",
        f"{len(sides[True])} arms below: at least {recovered.digits()}; {len(sides[False])} above: at most {collapsed.digits()}; "
        f"closed form of model 0 in the 95% interval of {held} of {len(study.shown.treated)}",
        "reproduced" if agree else "contradicted",
    )
