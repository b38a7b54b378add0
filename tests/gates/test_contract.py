"""The contract: built-in gates keep it, and every violation is found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from autophage.gates import Context, Gate, Verdict, accept, reject
from autophage.gates.contract import ContractError, check_gate
from autophage.recipe.tables.gate import gate_class, installed_gates
from autophage.store.corpus import Sample

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "reward": [{}, {"reward": "world"}],
    "surprise": [{}, {"under": "base"}],
    "verifier": [{}, {"check": "regex", "pattern": "born"}, {"keep_right": 0.5, "keep_wrong": 0.5}],
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", sorted(installed_gates()))
def test_built_in_gates_keep_to_the_contract(kind: str) -> None:
    for settings in SETTINGS.get(kind, [{}]):
        gate = gate_class(kind)(kind=kind, **settings)
        assert isinstance(gate, Gate)
        assert check_gate(gate)


class Kept(Gate):
    kind: Literal["kept"] = "kept"

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return [accept() if sample.token_ids else reject("empty") for sample in samples]


COUNTER = itertools.count()


class Forgetful(Kept):
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return super().judge(samples, context)[:5]


class Moody(Kept):
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return [accept(1.0 + next(COUNTER)) for _ in samples]


class Meddling(Kept):
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        for sample in samples:
            sample.text = ""
        return super().judge(samples, context)


class Generous(Kept):
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return [*super().judge(samples, context), accept()]


class Bare(Kept):
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return [True for _ in samples]  # type: ignore[misc]


def test_a_gate_that_keeps_to_it_passes() -> None:
    assert [one.ruling.value for one in check_gate(Kept())].count("reject") == 1


@pytest.mark.parametrize(
    ("gate", "rule"),
    [
        (Forgetful(), "one verdict for each"),
        (Moody(), "equal samples and contexts get equal verdicts"),
        (Meddling(), "samples are not changed"),
        (Generous(), "an empty corpus gets no verdicts"),
        (Bare(), "verdicts come from accept, reject and abstain"),
    ],
)
def test_what_does_not_keep_to_it_is_told(gate: Gate, rule: str) -> None:
    with pytest.raises(ContractError, match=rule):
        check_gate(gate)
