from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from autophage.data.source import HeldOut, Probe, Role
from autophage.metrics.fluency import onpolicy_metrics, perplexity_metrics
from autophage.metrics.knowledge import knowledge_metrics
from autophage.metrics.scored import Scored
from autophage.metrics.text import compression, distinct, text_metrics
from autophage.store.manifest import Metric


def scored(logprob: list[float], argmax: list[int] | None = None, max_prob: list[float] | None = None) -> Scored:
    n = len(logprob)
    return Scored(
        logprob=np.array(logprob, dtype=np.float32),
        entropy=np.full(n, 0.5, dtype=np.float32),
        varentropy=np.full(n, 0.25, dtype=np.float32),
        max_prob=np.array(max_prob or [0.9] * n, dtype=np.float32),
        rank=np.ones(n, dtype=np.int64),
        argmax=np.array(argmax or [0] * n),
    )


def probe(answer: list[int], bucket: str = "torso", form: str = "cloze", fact: str = "1/city") -> Probe:
    return Probe(fact, form, bucket, [1, 2], answer, frozenset({7, 8, 9}))


def values(metrics: list[Metric]) -> dict[str, float]:
    return {metric.metric: metric.value for metric in metrics}


def test_right_wrong_sure_and_off_form_are_told_apart() -> None:
    probes = [probe([7], fact="a"), probe([8], fact="b"), probe([9], fact="c"), probe([9], "head", fact="d")]
    answers = [
        scored([-0.1], argmax=[7], max_prob=[0.9]),  # right
        scored([-3.0], argmax=[7], max_prob=[0.8]),  # wrong, sure, a city all the same
        scored([-3.0], argmax=[7], max_prob=[0.3]),  # wrong, not sure
        scored([-3.0], argmax=[4], max_prob=[0.6]),  # wrong, sure, not even a city
    ]
    found = values(knowledge_metrics(probes, answers, 0.5, 100, 0))
    assert found["knowledge/accuracy"] == 0.25
    assert found["knowledge/accuracy.torso"] == pytest.approx(1 / 3)
    assert found["knowledge/accuracy.head"] == 0.0
    assert found["knowledge/confidently_wrong"] == 0.5
    assert found["format/compliance"] == 0.75
    assert found["knowledge/confidence"] == pytest.approx((0.9 + 0.8 + 0.3 + 0.6) / 4)
    assert found["knowledge/accuracy.torso.cloze"] == pytest.approx(1 / 3)


def test_an_answer_of_several_tokens_is_right_only_whole() -> None:
    probes = [probe([7, 5], fact="a"), probe([7, 5], fact="b")]
    answers = [
        scored([-0.1, -0.1], argmax=[7, 5], max_prob=[0.9, 0.5]),
        scored([-0.1, -2.0], argmax=[7, 6], max_prob=[0.9, 0.4]),
    ]
    found = values(knowledge_metrics(probes, answers, 0.3, 100, 0))
    assert found["knowledge/accuracy"] == 0.5
    assert found["knowledge/confidence"] == pytest.approx((0.45 + 0.36) / 2)
    assert found["knowledge/confidently_wrong"] == 0.5


def test_perplexity_by_role() -> None:
    document = HeldOut([1, 10, 11, 12, 2], [Role.FORM, Role.SUBJECT, Role.FORM, Role.FACT, Role.FORM])
    found = values(perplexity_metrics([document] * 3, [scored([-1.0, -2.0, -3.0, -4.0])] * 3, 100, 0))
    assert found["fluency/ppl_human"] == pytest.approx(math.exp(2.5))
    assert found["fluency/ppl_form"] == pytest.approx(math.exp(3.0))
    assert found["fact/ppl"] == pytest.approx(math.exp(3.0))


def test_a_text_without_labels_has_only_its_perplexity() -> None:
    document = HeldOut([1, 10, 11], [Role.TEXT] * 3)
    assert set(values(perplexity_metrics([document], [scored([-1.0, -1.0])], 100, 0))) == {"fluency/ppl_human"}


def test_onpolicy_statistics_are_means_over_tokens() -> None:
    found = values(onpolicy_metrics([scored([-1.0]), scored([-1.0, -0.5, -0.5])], 100, 0))
    assert found["onpolicy/entropy"] == pytest.approx(0.5)
    assert found["onpolicy/surprisal_gap"] == pytest.approx(3.0 / 4 - 0.5)


def test_distinct_n_by_hand() -> None:
    assert [value for value, _ in distinct(["a b a b", "a b"])] == [2 / 6, 2 / 4, 2 / 2, 1 / 1]
    assert distinct(["", "one"])[1][0] == 0.0


def test_compression_is_gzip() -> None:
    texts = ["the same words"] * 50
    raw = "\n".join(texts).encode()
    assert compression(texts) == len(raw) / len(gzip.compress(raw, mtime=0))
    assert compression(["", ""]) < 1.1


def test_degenerate_corpora_have_values() -> None:
    for texts in ([""] * 8, ["same"] * 8, ["only one"]):
        for metric in text_metrics(texts):
            assert math.isfinite(metric.value), metric
    assert values(text_metrics(["same"] * 8))["text/duplicate"] == 7 / 8
    assert text_metrics([]) == []
