"""Sequences that begin alike, in groups that compute their common prefix once.

A group is a prefix of P tokens and its members. It saves P tokens for each member but one. `prefix_groups` finds the
groups that save the most, with at most one prefix for each sequence. The search walks the tree of common prefixes from
the leaves up: sorted sequences have their longest common prefixes with their neighbours. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SHORTEST = 8
"""Fewest tokens of a prefix. A shorter one saves less than its own pass and its cache cost."""
WORTHWHILE = 8
"""A group saves at least one token in this many."""


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences with a common prefix of `length` tokens, by their indices."""

    length: int
    members: list[int]


@dataclass(frozen=True)
class _Branch:
    """The sequences below a node of the tree: all their indices, the best groups, and the tokens that these save."""

    members: list[int]
    groups: list[PrefixGroup]
    saved: int


def prefix_groups(sequences: Sequence[Sequence[int]], longest: Sequence[int]) -> list[PrefixGroup]:
    """Return the groups of `sequences` (token ids) that save the most tokens. Other sequences are in no group.

    `longest[i]` is the largest number of tokens of sequence i that a prefix may take.
    """
    order = sorted(range(len(sequences)), key=lambda index: list(sequences[index]))
    if not order:
        return []
    opened: list[tuple[int, list[_Branch]]] = []
    branch = _Branch([order[0]], [], 0)
    for before, index in pairwise(order):
        depth = min(_common(sequences[before], sequences[index]), longest[before], longest[index])
        while opened and opened[-1][0] > depth:
            branch = _joined(*opened.pop(), branch)
        if not opened or opened[-1][0] < depth:
            opened.append((depth, []))
        opened[-1][1].append(branch)
        branch = _Branch([index], [], 0)
    while opened:
        branch = _joined(*opened.pop(), branch)
    return [one for one in branch.groups if _is_worthwhile(one, sequences)]


def _joined(depth: int, branches: list[_Branch], last: _Branch) -> _Branch:
    """Return the branch of a node with a common prefix of `depth` tokens. Its parts share that prefix if it saves more."""
    branches = [*branches, last]
    everyone = [index for branch in branches for index in branch.members]
    joining = [branch for branch in branches if depth * len(branch.members) >= branch.saved]
    apart = [branch for branch in branches if depth * len(branch.members) < branch.saved]
    members = [index for branch in joining for index in branch.members]
    together = depth * (len(members) - 1) + sum(branch.saved for branch in apart)
    saved = sum(branch.saved for branch in branches)
    if depth < SHORTEST or together <= saved:
        return _Branch(everyone, [group for branch in branches for group in branch.groups], saved)
    return _Branch(
        everyone, [PrefixGroup(depth, members), *(group for branch in apart for group in branch.groups)], together
    )


def _is_worthwhile(group: PrefixGroup, sequences: Sequence[Sequence[int]]) -> bool:
    tokens = sum(len(sequences[index]) for index in group.members)
    return group.length * (len(group.members) - 1) * WORTHWHILE >= tokens


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
