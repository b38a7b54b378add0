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
    """Return the totals of a corpus, and a count per `rejected.REASON` and `accepted.REMARK`.

    Args:
        judged: `accepted` and `gate` of each sample.
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
