"""The report knows every metric that is computed: its label, its unit, a sentence."""

from __future__ import annotations

import numpy as np

from autophage.data.source import Probe
from autophage.metrics.corpus import corpus_metrics, drift_metrics
from autophage.metrics.human import count_human
from autophage.metrics.judged import judged_metrics
from autophage.metrics.knowledge import knowledge_metrics
from autophage.metrics.questions import question_metrics
from autophage.metrics.scored import Compared, Scored
from autophage.recipe.tables.measure import MeasureTable
from autophage.report.facts.catalog import BASES, describe, split
from autophage.report.figures.planned import PLANS
from autophage.store.answers import Answer
from autophage.store.corpus import Sample
from autophage.store.training import StepStatistics, step_metrics

ONE = np.ones(3, dtype=np.float32)
STATS = Scored(-ONE, ONE, ONE, 0.5 * ONE, np.ones(3, dtype=np.int64), np.full(3, 7))


def everything() -> set[str]:
    settings = MeasureTable(resamples=100)
    texts, token_ids = ["a b c d e", "a b c d f"] * 3, [[1, 2, 3, 4, 5]] * 6
    five = np.ones(5, dtype=np.float32)
    samples = [Sample("", "", text, [0], ids, "stop", 0, five, five, five, five, five, ppl_under_base=2.0)
               for text, ids in zip(texts, token_ids, strict=True)]  # fmt: skip
    compared = [Compared(STATS, ONE)] * 6
    probes = [Probe(str(n), "cloze", "head", [1], [7, 7, 7], frozenset()) for n in range(4)]
    metrics = corpus_metrics(texts, token_ids, count_human([[1] * 9 + [2] * 9 + [3]], ["a b c d e"]), settings, 0)
    metrics += drift_metrics(samples, compared, compared, settings, 0)
    metrics += knowledge_metrics(probes, [STATS] * 4, 0.5, 100, 0)
    answer = Answer("s/0", "s", "few-shot", 1, 1, (0.0,) * 4, greedy=True, complies=True, confidence=0.5,
                    generated="B", generated_choice=1, generated_complies=True, entailment=0.5)  # fmt: skip
    metrics += question_metrics([answer], 0.5, 100, 0)
    metrics += step_metrics([StepStatistics(1, 1, *[1.0] * 7)])
    samples[0].accepted, samples[0].gate = False, "verifier: wrong"
    metrics += judged_metrics(samples)
    return {metric.metric for metric in metrics}


def test_every_metric_has_a_label_a_unit_and_a_sentence() -> None:
    for name in everything():
        assert split(name)[0] in BASES, name
        assert describe(name).note, name


def test_figures_name_metrics_that_exist() -> None:
    planned = {
        name
        for plan in PLANS
        for name in plan.metrics
        if name.startswith(("text/", "tail/", "drift/", "detect/", "anchor/", "gate/"))
    }
    assert planned <= everything()
