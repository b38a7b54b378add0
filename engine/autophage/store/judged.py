"""What gates said of a corpus, counted: how many samples were accepted and rejected, and by which reasons.

    samples = accepted + rejected        rejected = the sum over its reasons

A rejected sample has one reason; an accepted one has none, or a remark of each gate that had something to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

BETWEEN = "; "
"""Between the remarks of several gates on one sample."""
UNSAID = "no reason"


def count_judged(judged: Iterable[tuple[bool, str]]) -> dict[str, int]:
    """The counts of a corpus from each sample's `accepted` and `gate`: in all, and as `rejected.REASON`, `accepted.REMARK`."""
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
