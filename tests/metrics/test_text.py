"""Metrics of text, each against another implementation or a closed form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sacrebleu import corpus_bleu

from autophage.data.source import Probe
from autophage.metrics.calibration import BINS, calibration_error
from autophage.metrics.corpus import corpus_metrics
from autophage.metrics.diversity import cosine, diversity_metrics, mean_distance, self_bleu, tf_idf, vendi
from autophage.metrics.human import HumanText, count_human
from autophage.metrics.intervals import grouped_jackknife
from autophage.metrics.knowledge import knowledge_metrics
from autophage.metrics.scored import Scored
from autophage.metrics.text import LONG, distinct, is_junk, novelty_metrics, text_metrics
from autophage.recipe.tables.measure import MeasureTable

NOBODY = count_human([], [])


def invented(count: int, seed: int = 0, words: int = 30) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{n}" for n in rng.zipf(1.6, size=rng.integers(0, words)) if n < 200) for _ in range(count)]


def plain_distinct(n: int) -> Callable[[Sequence[str]], float]:
    def statistic(texts: Sequence[str]) -> float:
        grams = [
            tuple(words[i : i + n]) for text in texts for words in [text.split()] for i in range(len(words) - n + 1)
        ]
        return len(set(grams)) / len(grams) if grams else 0.0

    return statistic


@pytest.mark.parametrize("texts", [invented(50), invented(7, 1), ["a"] * 30, ["", ""], ["a b c", ""], ["one two"]])
def test_distinct_n_and_its_interval_are_those_of_the_plain_definition(texts: list[str]) -> None:
    for n, (value, interval) in enumerate(distinct(texts), start=1):
        statistic = plain_distinct(n)
        assert value == pytest.approx(statistic(texts))
        assert interval == pytest.approx(grouped_jackknife(texts, statistic), nan_ok=True)


def test_novelty_counts_fourgrams_that_humans_did_not_write() -> None:
    human = count_human([[1]], ["the cat sat on the mat"])
    (metric,) = novelty_metrics(["the cat sat on a mat", "sat on the mat", "too short"], human, 100, 0)
    assert (metric.value, metric.n) == (2 / 4, 4)
    (nothing,) = novelty_metrics(["", "too short"], human, 100, 0)
    assert (nothing.value, nothing.low, nothing.high, nothing.n) == (0.0, 0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("text", "token_ids", "junk"),
    [
        ("", [], True),
        (" \n", [5], True),
        ("1 2 3 !?", [1, 2, 3, 4], True),
        ("the the the the the", [7] * 5 + [1] * 4, True),
        ("no no no", [7] * (LONG - 1), False),  # an answer may be short
        ("half of it", [7] * 4 + [1, 2, 3, 4], False),
        ("णिणिणिणिणिणिणिणि", [9] * 8, True),
        ("猫が座った", [1, 2, 3, 4, 5], False),
    ],
)
def test_junk_by_its_rule(text: str, token_ids: list[int], junk: bool) -> None:
    assert is_junk(text, token_ids) is junk


def test_self_bleu_is_sacrebleus_mean_over_samples() -> None:
    texts = [text for text in invented(12, 3) if text]
    expected = [
        corpus_bleu(
            [text], [[other] for other in texts[:i] + texts[i + 1 :]], tokenize="none", use_effective_order=True
        )
        for i, text in enumerate(texts)
    ]
    assert self_bleu(texts) == pytest.approx([one.score / 100 for one in expected])
    assert self_bleu(["a b c d e"] * 3) == pytest.approx([1.0] * 3)
    assert self_bleu(["a b c d e"]).tolist() == [0.0]


def test_vendi_score_in_closed_form() -> None:
    assert vendi(np.ones((5, 5))) == pytest.approx(1.0)  # all the same
    assert vendi(np.eye(5)) == pytest.approx(5.0)  # nothing in common
    # Two kinds of 2 and 4 equal samples: exp of the entropy of (1/3, 2/3).
    blocks = np.kron(np.eye(3), np.ones((2, 2)))
    blocks[2:, 2:] = 1
    assert vendi(blocks) == pytest.approx(math.exp(math.log(3) - 2 / 3 * math.log(2)))
    # A pair with similarity s has eigenvalues (1 +- s) / 2.
    s = 0.3
    shares = np.array([(1 + s) / 2, (1 - s) / 2])
    assert vendi(np.array([[1, s], [s, 1]])) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))


def test_tf_idf_distance_is_that_of_the_plain_definition() -> None:
    human = count_human([[0, 1, 1], [0, 2], [0]], ["", "", ""])
    documents = [[0, 1, 1], [0, 2, 9], [9, 9, 1]]  # token 9 is beyond the human vocabulary

    def vector(ids: list[int]) -> dict[int, float]:
        with_token = {token: sum(token in one for one in ([0, 1, 1], [0, 2], [0])) for token in ids}
        return {token: count * (1 + math.log(4 / (1 + with_token[token]))) for token, count in Counter(ids).items()}

    def similarity(one: dict[int, float], two: dict[int, float]) -> float:
        dot = sum(value * two.get(token, 0.0) for token, value in one.items())
        return dot / math.dist([0.0] * len(one), one.values()) / math.dist([0.0] * len(two), two.values())

    vectors = [vector(ids) for ids in documents]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = sum(1 - similarity(vectors[a], vectors[b]) for a, b in pairs) / 3
    assert mean_distance(cosine(tf_idf(documents, human))) == pytest.approx(expected)


def test_the_draw_for_pairs_is_seeded_and_bounded() -> None:
    texts = invented(60, 5)
    ids = [[len(word) for word in text.split()] for text in texts]
    first = diversity_metrics(texts, ids, NOBODY, 20, 100, 1)
    assert [metric.n for metric in first] == [20] * 3
    assert diversity_metrics(texts, ids, NOBODY, 20, 100, 1) == first
    assert diversity_metrics(texts, ids, NOBODY, 20, 100, 2) != first


def plain_ece(right: list[bool], confidence: list[float]) -> float:
    total = 0.0
    for b in range(BINS):
        inside = [i for i, c in enumerate(confidence) if min(int(c * BINS), BINS - 1) == b]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / len(right) * float(abs(gap))
    return total


def test_calibration_error_is_the_mean_gap_over_bins() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=300)
    confidence[:2] = 0.0, 1.0
    right = rng.uniform(size=300) < confidence**2
    value, (low, high) = calibration_error(right, confidence, np.arange(300))
    assert value == pytest.approx(plain_ece(right.tolist(), confidence.tolist()))
    assert low < value < high
    # Certain of everything and right half of the time: off by a half.
    sure = calibration_error(np.array([True, False] * 10), np.ones(20), np.arange(20))[0]
    assert sure == pytest.approx(0.5)


def test_answers_about_one_fact_are_one_unit() -> None:
    right, confidence = np.array([True, False]), np.array([0.9, 0.8])
    assert all(map(math.isnan, calibration_error(right, confidence, np.zeros(2, dtype=int))[1]))


def test_calibration_error_stands_beside_every_accuracy() -> None:
    probes = [Probe(str(fact), form, bucket, [1], [7], frozenset()) for fact, bucket in enumerate(("head", "tail"))
              for form in ("cloze", "few-shot")]  # fmt: skip
    one = np.ones(1, dtype=np.float32)
    stats = Scored(-one, one, one, 0.25 * one, np.ones(1, dtype=np.int64), np.array([7]))
    names = {metric.metric for metric in knowledge_metrics(probes, [stats] * 4, 0.5, 100, 0)}
    accuracies = {name for name in names if name.startswith("knowledge/accuracy")}
    assert {name.replace("accuracy", "ece") for name in accuracies} <= names
    assert "knowledge/ece.tail.few-shot" in names


DEGENERATE: dict[str, tuple[list[str], list[list[int]]]] = {
    "nothing": ([], []),
    "all empty": ([""] * 30, [[]] * 30),
    "one empty": ([""], [[]]),
    "one token each": (["a"] * 30, [[3]] * 30),
    "all equal": (["a b c d e f"] * 30, [[1, 2, 3, 4, 5, 6]] * 30),
    "beyond the vocabulary": (["a b"] * 30, [[10**6, 2]] * 30),
    "one sample": (["a b c d e"], [[1, 2, 3, 4, 5]]),
    "no words": (["  "] * 3, [[4, 4]] * 3),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("human", [NOBODY, count_human([[0, 1, 1, 2]], ["a b b c"])], ids=["no human text", "some"])
def test_degenerate_corpora_have_values(name: str, human: HumanText) -> None:
    texts, token_ids = DEGENERATE[name]
    metrics = corpus_metrics(texts, token_ids, human, MeasureTable(resamples=100), 0)
    assert bool(metrics) is bool(texts)
    for metric in metrics:
        assert math.isfinite(metric.value), metric
        if len(texts) > 1:
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low - 1e-12 <= metric.value <= metric.high + 1e-12, metric


def test_an_all_equal_corpus_is_as_poor_as_can_be() -> None:
    texts = ["a b c d e f"] * 30
    found = {m.metric: m.value for m in text_metrics(texts)}
    found |= {m.metric: m.value for m in diversity_metrics(texts, [[1, 2]] * 30, NOBODY, 20, 100, 0)}
    assert found["text/vendi"] == pytest.approx(1.0)
    assert found["text/self_bleu"] == pytest.approx(1.0)
    assert found["text/embedding_diversity"] == pytest.approx(0.0)
    assert found["text/duplicate"] == 29 / 30
    assert found["text/distinct_1"] == 6 / 180
