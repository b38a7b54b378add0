"""Progress of a stage, as every part of the engine reports it: one meter is handed down, and whoever works advances it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """Units of work that are done, of `total`; 0 of 0 before the total is known.

    A unit is a sequence where text is scored or sampled, an optimizer step in training, a token for a base model.
    """

    done: int = 0
    total: int = 0
    tokens: int = 0
    """Tokens written or trained on so far; 0 where a stage has none."""
    loss: float = 0.0
    """Cross-entropy of the last step in nats, of a base model in training."""


class Meter:
    """Counts units of work and shows each change to a callback. Without a callback it only counts."""

    def __init__(self, show: Callable[[Progress], None] | None = None, total: int = 0) -> None:
        self.progress = Progress(total=total)
        self._show = show

    def expect(self, total: int) -> None:
        """Set the number of units in all."""
        self._change(replace(self.progress, total=total))

    def advance(self, units: int = 1, *, tokens: int = 0, loss: float = 0.0) -> None:
        """Add finished units, and the tokens that they took."""
        now = self.progress
        self._change(Progress(now.done + units, now.total, now.tokens + tokens, loss))

    def _change(self, progress: Progress) -> None:
        self.progress = progress
        if self._show is not None:
            self._show(progress)
