"""The gate `gain`: verdicts from gains, and the arguments of a gain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from autophage.data.mix import TrainingRow
from autophage.errors import RunError
from autophage.gates import Context, Verdict
from autophage.gates.contract import example_context, example_samples
from autophage.gates.gain import Gain
from autophage.store.corpus import Sample

Make = Callable[..., Sample]
Said = Callable[[list[Verdict]], list[str]]


def gaining(context: Context, *gains: float) -> Context:
    """The context in which the samples that have tokens gain this."""
    return replace(context, gains=lambda rows, held, steps, rate: list(gains[: len(rows)]))


def test_the_greatest_gains_are_kept(context: Context, sample: Make, said: Said) -> None:
    samples = [sample("a"), sample("", logprob=[]), *map(sample, "bcde")]
    known = gaining(context, 0.1, 0.4, -0.01, 0.3, 0.0)
    assert said(Gain(keep=0.4).judge(samples, known)) == [
        "reject: gains less than others", "abstain: no tokens", "accept", "reject: harms", "accept",
        "reject: gains less than others",
    ]  # fmt: skip
    assert said(Gain(keep=1.0, least=0.2).judge(samples, known)) == [
        "reject: gains too little", "abstain: no tokens", "accept", "reject: harms", "accept", "reject: gains too little",
    ]  # fmt: skip
    assert said(Gain(keep=1.0, least=-1.0).judge(samples, known)).count("accept") == 5
    assert said(Gain(keep=0.01).judge(samples, known)).count("accept") == 1


def test_where_everything_harms_nothing_is_kept(context: Context, sample: Make, said: Said) -> None:
    assert said(Gain(keep=1.0).judge([sample("a"), sample("b")], gaining(context, -0.1, -0.2))) == ["reject: harms"] * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_gain_that_is_no_number_stops_the_run(context: Context, sample: Make, value: float) -> None:
    told = r"the gain of sample b is -?(nan|inf)\. Nothing was committed\. Lower gate\.rate\."
    with pytest.raises(RunError, match=told):
        Gain().judge([sample("a"), sample("b")], gaining(context, 0.1, value))


def test_samples_are_tried_as_they_are_trained_on(context: Context, sample: Make) -> None:
    asked: list[tuple[Sequence[TrainingRow], Sequence[TrainingRow], int, float]] = []

    def gains(rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float) -> list[float]:
        asked.append((rows, held, steps, rate))
        return [1.0] * len(rows)

    gate = Gain(human=5, steps=3, rate=0.2)
    gate.judge([sample("one two"), sample("", logprob=[])], replace(context, gains=gains))
    [(rows, held, steps, rate)] = asked
    start = context.source.start_ids
    assert [(row.token_ids, row.context) for row in rows] == [([*start, 5, 5], len(start))]
    assert [row.token_ids for row in held] == [[*start, *ids] for ids in context.source.reference(5)]
    assert {row.context for row in held} == {len(start)}
    assert (steps, rate) == (3, 0.2)
    gate.judge([sample("", logprob=[])], replace(context, gains=gains))
    assert len(asked) == 1  # of nothing there is nothing to learn


@pytest.mark.thorough
def test_a_model_that_knows_nothing_gains_from_what_people_wrote(said: Said) -> None:
    gate = Gain(keep=1.0, rate=1.0)
    context = example_context(gate)
    verdicts = said(gate.judge(example_samples(context), context))
    assert verdicts[0] == "accept"
    assert verdicts[-1] == "abstain: no tokens"
