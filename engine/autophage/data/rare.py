"""Oversampling of rare human documents.

The source defines rarity. This module draws, and measures the rarity of windows of a text. In a thinned stream every
rare document stays, and any other stays with probability 1 / weight. The odds of a rare document thus grow by the
factor `weight`. The order of the stream does not change. The draw has its own seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from autophage.seeds import generator

T = TypeVar("T")

RARE_TOKENS = 0.1
"""Share of all tokens of a text that its rare token types make up together. It equals the tail of `metrics.human`."""
RARE_WINDOWS = 0.25
"""Share of the windows that count as rare: those with the most rare tokens."""


def thinned(stream: Iterable[T], is_rare: Callable[[T], bool], weight: float, draw: int) -> Iterator[T]:
    """Yield the items of `stream`, thinned so that rare ones are `weight` times as frequent relative to the others.

    Rare items all stay. Another item stays with probability 1 / `weight`. `weight` is at least 1. `draw` is the seed.
    """
    rng = generator(draw, "rare")
    for one in stream:
        if rng.random() * weight < 1.0 or is_rare(one):
            yield one


def rare_windows(windows: Sequence[Sequence[int]]) -> frozenset[int]:
    """Return the indices of the windows with the most rare tokens. `windows` are token ids.

    They are the share `RARE_WINDOWS` of all windows, and at least one. Ties go to the first.
    """
    counts = Counter(token for window in windows for token in window)
    left = RARE_TOKENS * counts.total()
    rare: set[int] = set()
    for token, count in sorted(counts.items(), key=lambda one: (one[1], -one[0])):
        if count > left:
            break
        left -= count
        rare.add(token)
    shares = [sum(token in rare for token in window) for window in windows]
    order = sorted(range(len(windows)), key=lambda place: -shares[place])
    return frozenset(order[: max(1, round(RARE_WINDOWS * len(windows)))])
