"""Check whether two runs are the same run: equal corpora, weights and metrics in every generation.

Hashes are those of the manifests. Metrics of speed do not count. A corpus of other bytes is read: another version of
pyarrow writes equal rows as other bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.display import listed, plural
from autophage.errors import UNREADABLE
from autophage.report.comparison.reading import Committed, ComparedArm, ComparedRun
from autophage.store.atomic import local

SAME, SO_FAR, DIFFERENT, NOTHING = "same", "same so far", "different", "nothing to compare"
PARTS = ("corpus", "weights", "metrics")


@dataclass(frozen=True)
class Sameness:
    """Result of comparing a run with the first one.

    `verdict` is `SAME`, `SO_FAR`, `DIFFERENT` or `NOTHING`. `compared` counts generations of common arms. `parts` maps an
    arm to the parts that differ in each of its generations, empty where all are equal. `sentences` tell the result.
    """

    run: str
    verdict: str
    compared: int
    parts: dict[str, list[tuple[str, ...]]]
    sentences: list[str]


def sameness(first: ComparedRun, other: ComparedRun) -> Sameness:
    """Compare the generations that two runs have in arms of the same name, seed included."""
    theirs = {arm.name: arm for arm in first.arms}
    ours = {arm.name: arm for arm in other.arms}
    common = [name for name in theirs if name in ours]
    parts = {name: _parts(first, theirs[name], other, ours[name]) for name in common}
    compared = sum(map(len, parts.values()))
    differing = {name: found for name, found in parts.items() if any(found)}
    whole = set(theirs) == set(ours) and all(theirs[name].last == ours[name].last for name in common)
    if not compared:
        return Sameness(other.letter, NOTHING, 0, parts, ["no generation of a common arm is committed in both"])
    sentences = [_first(name, found) for name, found in differing.items()]
    if differing:
        equal = sum(not one for found in parts.values() for one in found)
        sentences.append(f"{equal} of {plural(compared, 'generation')} equal")
        return Sameness(other.letter, DIFFERENT, compared, parts, sentences)
    sentences = [f"{plural(compared, 'generation')} with equal corpora, weights and metrics (but for speed)"]
    if not whole:
        sentences += _unequal(first, other, theirs, ours)
    return Sameness(other.letter, SAME if whole else SO_FAR, compared, parts, sentences)


def _first(name: str, found: list[tuple[str, ...]]) -> str:
    place = next(number for number, one in enumerate(found) if one)
    return f"{name} differs from generation {place} on: {listed(list(found[place]))}"


def _unequal(
    first: ComparedRun, other: ComparedRun, theirs: dict[str, ComparedArm], ours: dict[str, ComparedArm]
) -> list[str]:
    """Say what one run has and the other lacks."""
    sentences = []
    for name in dict.fromkeys([*theirs, *ours]):
        if name not in ours or name not in theirs:
            sentences.append(f"only {first.letter if name in theirs else other.letter} has the arm {name}")
        elif theirs[name].last != ours[name].last:
            reached = f"{theirs[name].last} in {first.letter} and {ours[name].last} in {other.letter}"
            sentences.append(f"{name}: the last generation is {reached}")
    return sentences


def _parts(first: ComparedRun, theirs: ComparedArm, other: ComparedRun, ours: ComparedArm) -> list[tuple[str, ...]]:
    found = []
    for one, two in zip(theirs.committed, ours.committed, strict=False):
        equal = {
            "corpus": one.corpus == two.corpus or _equal_rows((first, theirs.name, one), (other, ours.name, two)),
            "weights": one.weights == two.weights,
            "metrics": one.metrics == two.metrics,
        }
        found.append(tuple(part for part in PARTS if not equal[part]))
    return found


def _equal_rows(one: tuple[ComparedRun, str, Committed], two: tuple[ComparedRun, str, Committed]) -> bool:
    """Return True if two corpora of other bytes have the same rows. One that is missing or damaged equals no other.

    A corpus is given as run, arm and generation.
    """
    try:
        return bool(_rows(*one).equals(_rows(*two)))
    except UNREADABLE:
        return False


def _rows(run: ComparedRun, arm: str, committed: Committed) -> pa.Table:
    folder = run.directory.generation(arm, committed.generation)
    return pa.concat_tables([pq.read_table(local(folder / name)) for name in sorted(committed.corpus)])
