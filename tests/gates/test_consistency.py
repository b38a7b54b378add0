"""`consistency`: the majority's answer, and samples without an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autophage.gates import Context, Verdict
from autophage.gates.consistency import Consistency
from autophage.store.corpus import Sample

Make = Callable[..., Sample]
Said = Callable[[list[Verdict]], list[str]]


@pytest.fixture
def asked(sample: Make) -> Callable[[int, str], Sample]:
    """A sample that answers the prompt of a number."""
    return lambda prompt, text: replace(sample(text), prompt_ids=[1, prompt])


def test_the_majority_of_each_prompt_is_kept(context: Context, asked: Callable[[int, str], Sample], said: Said) -> None:
    samples = [
        asked(7, "It sails, so it is a ship. Answer: the Argo"),
        asked(8, "Answer: Bergen"),
        asked(7, "Answer: Bergen\nNo. Answer:  The  ARGO.\nThat was it."),
        asked(7, "Answer: a whale"),
        asked(7, "I do not know."),
        asked(8, "Answer: Oslo"),
    ]
    assert said(Consistency().judge(samples, context)) == [
        "accept", "reject: no majority", "accept", "reject: not the majority's answer", "reject: no answer",
        "reject: no majority",
    ]  # fmt: skip


def test_a_majority_has_to_be_large_enough(context: Context, asked: Callable[[int, str], Sample], said: Said) -> None:
    samples = [asked(1, "Answer: a"), asked(1, "Answer: a"), asked(1, "Answer: b"), asked(1, ""), asked(1, "Answer:")]
    assert said(Consistency(least=0.4).judge(samples, context))[:3] == [
        "accept",
        "accept",
        "reject: not the majority's answer",
    ]
    assert said(Consistency(least=0.5).judge(samples, context))[:3] == ["reject: no majority"] * 3
    assert said(Consistency(least=0.0).judge(samples, context))[3:] == ["reject: no answer"] * 2


def test_one_answer_is_no_majority_of_anything(
    context: Context, asked: Callable[[int, str], Sample], said: Said
) -> None:
    assert said(Consistency().judge([asked(1, "Answer: a"), asked(2, "")], context)) == ["abstain: asked once"] * 2


def test_another_marker(context: Context, asked: Callable[[int, str], Sample], said: Said) -> None:
    samples = [asked(1, "So: 4"), asked(1, "So: 4."), asked(1, "Answer: 4")]
    assert said(Consistency(marker="So:").judge(samples, context)) == ["accept", "accept", "reject: no answer"]
