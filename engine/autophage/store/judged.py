"""Count the verdicts of gates on a corpus: samples accepted and rejected, and by which reasons.

    samples = accepted + rejected        rejected = the sum over its reasons

A rejected sample has one reason. An accepted sample has a remark of each gate that gave one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

BETWEEN = "; "
"""Separator of the remarks of several gates on one sample."""
UNSAID = "no reason"


def count_judged(judged: Iterable[tuple[bool, str]]) -> dict[str, int]:
    """Count the accepted and rejected samples of a corpus, and the gates' reasons and remarks.

    The keys are `samples`, `accepted` and `rejected`, then `accepted.REMARK` and `rejected.REASON`.

    Args:
        judged: Verdict and words of the gates on each sample, from the columns `accepted` and `gate`.
    """
    totals = Counter({"samples": 0, "accepted": 0, "rejected": 0})
    reasons: Counter[str] = Counter()
    for accepted, gate in judged:
        ruling = "accepted" if accepted else "rejected"
        totals["samples"] += 1
        totals[ruling] += 1
        said = gate.split(BETWEEN) if gate else []
        for one in said if accepted else said or [UNSAID]:
            reasons[f"{ruling}.{one}"] += 1
    return {**totals, **dict(sorted(reasons.items()))}
