"""The n-gram learner: supports never grow. Rare words survive with the theoretical probability."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.learners.conftest import Load

from autophage.errors import UserError
from autophage.learners.grams import BACKOFF, Grams, count_grams
from autophage.learners.ngram import NGram
from autophage.learners.words import END, START, EncodedDocument
from autophage.progress import Meter

A, B, C = 2, 3, 4


def documents(*texts: tuple[int, ...]) -> list[EncodedDocument]:
    return [EncodedDocument((*words, END), True) for words in texts]


def model(rows: list[EncodedDocument], order: int) -> Grams:
    return Grams(*count_grams(rows, order))


def test_counts_and_distributions_of_a_text_that_is_counted_by_hand() -> None:
    rows = documents((A, B), (A, C), (A, B))
    grams, counts = count_grams(rows, 2)
    assert dict(zip(map(tuple, grams.tolist()), counts.tolist(), strict=True)) == {
        (START, A): 3, (A, B): 2, (A, C): 1, (B, END): 2, (C, END): 1
    }  # fmt: skip
    found = Grams(grams, counts).score((A, C, END))
    np.testing.assert_allclose(found.logprob, [0.0, math.log(1 / 3), 0.0], atol=1e-12)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    np.testing.assert_allclose(found.entropy, [0.0, entropy, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.max_prob, [1.0, 2 / 3, 1.0])
    assert found.rank.tolist() == [1, 2, 1]
    varentropy = sum(p * (math.log(p) + entropy) ** 2 for p in (2 / 3, 1 / 3))
    np.testing.assert_allclose(found.varentropy, [0.0, varentropy, 0.0], atol=1e-12)


def test_ties_share_a_rank() -> None:
    found = model(documents((A,), (B,), (C,), (C,)), 2).statistics
    assert found.rank.tolist()[:3] == [2, 2, 1]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_what_is_drawn_has_the_models_own_distribution(order: int) -> None:
    rows = documents((A, B, A, C), (A, B), (C, B, A), (C,))
    fitted = model(rows, order)
    drawn = fitted.draw(np.random.default_rng(1).random((20_000, 41)), 40)
    firsts = Counter(one.token_ids[0] for one in drawn)
    grams, counts = count_grams(rows, order)
    opening = {
        w[-1]: c for *w, c in zip(grams.tolist(), counts.tolist(), strict=True) for w in w if set(w[:-1]) <= {START}
    }
    total = sum(opening.values())
    for word, count in opening.items():
        assert firsts[word] / 20_000 == pytest.approx(count / total, abs=0.015)
    # Refitted to many of its own samples it is nearly itself.
    again = dict(
        zip(map(tuple, count_grams(drawn, order)[0].tolist()), count_grams(drawn, order)[1].tolist(), strict=True)
    )
    assert set(again) == set(map(tuple, grams.tolist()))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("longest", [3, 60])
def test_the_support_never_grows(load: Load, order: int, longest: int) -> None:
    """A cut document adds no false end. The same holds for one in a context without successors."""
    recipe = load("ngram", f"learner.order={order}", f"sample.max_tokens={longest}").recipe
    learner = NGram(recipe)
    state = learner.fit(learner.human(1, 30), 0, None, Meter())
    supports = [{tuple(gram) for gram in state["grams"].tolist()}]
    for generation in range(25):
        state = learner.fit(learner.draw(state, 30, generation), 0, None, Meter())
        supports.append({tuple(gram) for gram in state["grams"].tolist()})
        assert supports[-1] <= supports[-2]
    assert len(supports[-1]) < 0.8 * len(supports[0])


def test_a_rare_word_survives_a_generation_with_the_probability_of_theory() -> None:
    """M one-word documents are M draws of a word. It survives with P = 1 - (1 - q)^M."""
    fitted = model(documents(*[(A,)] * 95, *[(B,)] * 4, (C,)), 2)
    tries, size = 3000, 50
    survived = Counter[int]()
    for attempt in range(tries):
        drawn = fitted.draw(np.random.default_rng(attempt).random((size, 5)), 4)
        survived.update({one.token_ids[0] for one in drawn})
    for word, q in ((B, 0.04), (C, 0.01)):
        expected = 1 - (1 - q) ** size
        error = math.sqrt(expected * (1 - expected) / tries)
        assert abs(survived[word] / tries - expected) < 3.3 * error


def test_a_single_document_is_the_last_state() -> None:
    fitted = model(documents((A, B)), 2)
    assert set(fitted.draw(np.random.default_rng(0).random((20, 9)), 8)) == {EncodedDocument((A, B, END), True)}


def test_held_out_words_have_a_probability_whatever_they_are() -> None:
    fitted = model(documents((A, B), (A, C)), 2)
    vocabulary = 10
    known, unknown_word, unknown_context = fitted.backed_off((A, 99, B), vocabulary)
    assert math.exp(known) == pytest.approx((1 - BACKOFF) + BACKOFF / vocabulary)
    assert math.exp(unknown_word) == pytest.approx(BACKOFF / vocabulary)
    assert math.exp(unknown_context) == pytest.approx(1 / vocabulary)


def test_a_corpus_comes_back_from_its_rows_as_it_was(load: Load, tmp_path: Path) -> None:
    from autophage.store.corpus import write_corpus

    learner = NGram(load("ngram", "sample.max_tokens=36").recipe)
    state = learner.fit(learner.human(1, 30), 0, None, Meter())
    rows = learner.draw(state, 30, 4)
    assert {row.complete for row in rows} == {True, False}
    samples = learner.pack(state, rows, [str(place) for place in range(30)], 4)
    assert learner.unpack(write_corpus(tmp_path, samples)) == rows
    assert all(len(sample.logprob) == len(sample.token_ids) and (sample.logprob <= 0).all() for sample in samples)


def test_a_text_gives_lines(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two three\n\ntwo three\n" * 40 + "four five\n" * 20)
    learner = NGram(load("ngram", "source.kind=text", f"source.path={path}").recipe)
    drawn = {learner._words.text(row.words) for row in learner.human(3, 60)}
    assert drawn == {"one two three", "two three", "four five"}
    assert learner._words.held_out(3)[0].token_ids[0] == START
    path.write_text("word")
    with pytest.raises(UserError, match="each need a line with words"):
        NGram(load("ngram", "source.kind=text", f"source.path={path}").recipe)
