"""Contenders in alternation (A B A B), so that disturbances of the machine fall on all.

A contender is a function that does its work once and returns named figures. A contender that fails leaves a note and is not
called again. Nothing starts after the budget. A started turn is finished for every contender, so that ratios can be paired.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autophage.errors import AutophageError

Figures = Mapping[str, float]
Contender = Callable[[], Figures]


class Budget:
    """Seconds after which nothing new is started."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


@dataclass
class Taken:
    """Values of one contender by figure, in the order of turns. `note` tells why there are no more."""

    values: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def add(self, figures: Figures) -> None:
        for name, value in figures.items():
            self.values.setdefault(name, []).append(float(value))


def take_turns(contenders: Mapping[str, Contender], repeats: int, budget: Budget, label: str = "") -> dict[str, Taken]:
    """One call of each contender in every turn. The first turn is taken whatever the budget says."""
    taken = {name: Taken() for name in contenders}
    for turn in range(repeats):
        if turn and not budget.left:
            for one in taken.values():
                one.note = one.note or f"the budget was spent after {turn} of {repeats} turns"
            break
        for name, contender in contenders.items():
            if taken[name].note:
                continue
            try:
                figures = contender()
            except AutophageError as error:
                taken[name].note = f"failed: {error}"
                _say(f"{label}turn {turn + 1}: {name}: {taken[name].note}")
                continue
            taken[name].add(figures)
            shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
            _say(f"{label}turn {turn + 1} of {repeats}: {name}: {shown}")
    return taken


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
