"""Progress of a stage, in the form that every part of the engine reports.

A stage creates a `Meter` and passes it to the code that does the work, which advances it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """Finished units of work of one stage.

    A unit is a sequence in sampling and scoring, an optimizer step in training, and a token in base-model training.
    """

    done: int = 0
    """Finished units."""
    total: int = 0
    """Units of the whole stage; 0 until the stage knows it."""
    tokens: int = 0
    """Tokens sampled or trained on; 0 for a stage that counts none."""
    loss: float = 0.0
    """Cross-entropy of the last base-model step, in nats."""


class Meter:
    """Count the finished units of a stage, and pass each count to a callback."""

    def __init__(self, show: Callable[[Progress], None] | None = None, total: int = 0) -> None:
        """Start at 0 of `total` units. `show` runs after each advance, in the thread that advances."""
        self.progress = Progress(total=total)
        self._show = show

    def expect(self, total: int) -> None:
        """Set the number of units of the whole stage."""
        self.progress = replace(self.progress, total=total)

    def advance(self, units: int = 1, *, tokens: int = 0, loss: float = 0.0) -> None:
        """Add finished units and their tokens. `loss` replaces the last loss (nats)."""
        now = self.progress
        self.progress = Progress(now.done + units, now.total, now.tokens + tokens, loss)
        if self._show is not None:
            self._show(self.progress)

    def __reduce__(self) -> tuple[type[Meter], tuple[None, int]]:
        """Pickle without the callback: a copy in another process counts for itself."""
        return Meter, (None, self.progress.total)
