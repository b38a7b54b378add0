"""Gates in sequence: effect of verdicts, and invalid answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from autophage.errors import RunError, UserError
from autophage.gates import Context, Gate, Verdict, abstain, accept, reject
from autophage.gates.judging import apply_gates
from autophage.metrics.judged import judged_metrics
from autophage.store.corpus import Sample
from autophage.store.judged import count_judged

Make = Callable[..., Sample]


class Scripted(Gate):
    """Returns the verdicts that a test wrote."""

    kind: Literal["scripted"] = "scripted"
    number: int = 0

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        SEEN.append([sample.sample_id for sample in samples])
        answer = SCRIPT[self.number](samples)
        assert isinstance(answer, list)
        return answer


SCRIPT: list[Callable[[Sequence[Sample]], Any]] = []
SEEN: list[list[str]] = []


@pytest.fixture
def run(context: Context, sample: Make) -> Callable[..., list[Sample]]:
    def apply(*script: Callable[[Sequence[Sample]], Any], names: str = "abcd") -> list[Sample]:
        SCRIPT[:], SEEN[:] = script, []
        samples = [sample(f"text {name}", name) for name in names]
        apply_gates([Scripted(number=number) for number in range(len(script))], samples, lambda *_: context)
        return samples

    return apply


def test_later_gates_see_what_earlier_ones_passed(run: Callable[..., list[Sample]]) -> None:
    samples = run(
        lambda _: [accept(2.0), reject("bad"), abstain("unread"), accept(remark="odd")],
        lambda _: [accept(3.0), abstain("unread"), reject("worse")],
    )
    assert SEEN == [["a", "b", "c", "d"], ["a", "c", "d"]]
    assert [(one.accepted, one.weight, one.gate) for one in samples] == [
        (True, 6.0, ""),
        (False, 0.0, "scripted: bad"),
        (True, 1.0, "scripted: abstains, unread; scripted: abstains, unread"),
        (False, 0.0, "scripted: worse"),
    ]
    counts = count_judged((one.accepted, one.gate) for one in samples)
    assert counts == {
        "samples": 4, "accepted": 2, "rejected": 2, "accepted.scripted: abstains, unread": 2,
        "rejected.scripted: bad": 1, "rejected.scripted: worse": 1,
    }  # fmt: skip
    found = {metric.metric: metric for metric in judged_metrics(samples)}
    assert found["gate/accepted"].value == found["gate/rejected"].value == 0.5
    assert found["gate/rejected.scripted: bad"].value == 0.25
    assert found["gate/weight"].value == 3.5
    assert all(metric.low is not None and metric.low <= metric.value for metric in found.values())


def test_a_gate_that_rejects_everything_is_a_result(run: Callable[..., list[Sample]]) -> None:
    samples = run(lambda given: [reject("all")] * len(given), lambda given: [accept()] * len(given))
    assert SEEN[1] == []
    found = {metric.metric: metric.value for metric in judged_metrics(samples)}
    assert found["gate/accepted"] == 0.0
    assert "gate/weight" not in found


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (lambda _: [accept()] * 3, r"example, generation 1: gate 1 \(scripted\) returned 3 verdicts for 4 samples"),
        (lambda _: [accept(), None, accept(), accept()], "returned None for sample b, which is not a verdict"),
        (lambda _: [accept(), accept(float("nan")), accept(), accept()], "gave sample b the weight nan"),
        (lambda _: [accept(0.0)] * 4, "gave sample a the weight 0"),
        (lambda _: [accept(float("inf"))] * 4, "gave sample a the weight inf"),
        (lambda _: 1 / 0, r"gate 1 \(scripted\) failed: ZeroDivisionError: division by zero. Nothing was committed"),
    ],
)
def test_nonsense_stops_the_run_by_name(run: Callable[..., list[Sample]], script: Any, said: str) -> None:
    with pytest.raises(RunError, match=said):
        run(script)


def test_what_the_user_can_mend_stays_that(run: Callable[..., list[Sample]]) -> None:
    def refuse(_: Sequence[Sample]) -> None:
        raise UserError("gate.model = 'x': cannot be loaded")

    with pytest.raises(UserError, match=r"gate 1 \(scripted\): gate.model = 'x'"):
        run(refuse)


@pytest.mark.parametrize("reason", ["", "0.93 above 0.9", "Too Long", "a; b", "x" * 70, "a: b"])
def test_a_reason_is_one_that_can_be_counted(reason: str) -> None:
    with pytest.raises(ValueError, match="reason"):
        reject(reason)
