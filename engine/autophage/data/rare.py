"""Human documents about the rare, drawn more often than they occur: importance of the tail.

What is rare is the source's to say; here are the drawing and, for texts, the measure. A stream is thinned: the rare stay
and of the others each stays with probability 1 / weight, by a seed of its own, so that the odds of a rare document are
`weight` times what they were and the order of those that stay is the stream's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from autophage.seeds import generator

T = TypeVar("T")

RARE_TOKENS = 0.1
"""Share of all tokens of a text that its rarest types make up: the tail of `metrics.human`."""
RARE_WINDOWS = 0.25
"""Share of the windows of a text that are about the rare: those with the most such tokens."""


def thinned(stream: Iterable[T], is_rare: Callable[[T], bool], weight: float, draw: int) -> Iterator[T]:
    """`stream` with rare ones `weight` (at least 1) times as frequent beside the others; `draw` is the seed."""
    rng = generator(draw, "rare")
    for one in stream:
        if rng.random() * weight < 1.0 or is_rare(one):
            yield one


def rare_windows(windows: Sequence[Sequence[int]]) -> frozenset[int]:
    """The places of the windows about the rare, at least one; of equal ones the first."""
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
