"""A fit as data: the request that travels from a stage to the training loop, and the result that comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autophage.data.mix import AnyRow
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights


@dataclass(frozen=True)
class FitRequest:
    """One pass of training from the weights `start` over rows in a fixed order."""

    start: Weights
    rows: Sequence[AnyRow]
    """Training rows of all epochs, one epoch after the other. A row may block until its sample is written."""
    recipe: Recipe
    seed: int
    optimizer: bytes | None = None
    """AdamW state as bytes that the previous fit returned. None starts a fresh AdamW."""
    meter: Meter = field(default_factory=Meter)
    """Counts optimizer steps and tokens."""
    after_step: Callable[[int, int], None] | None = None
    """Called with (step, steps) after each optimizer step. The trained weights are live then."""

    @property
    def batch_size(self) -> int:
        """Number of rows of one optimizer step, over all processes."""
        return self.recipe.train.batch_size

    @property
    def whole(self) -> Share:
        """All rows of the request: the share of a process that trains alone."""
        return Share(self.rows, self.batch_size)

    def tokens(self, step: int) -> int:
        """Count the tokens in the rows of one optimizer step, contexts included. Steps count from 1."""
        batch = self.rows[self.batch_size * (step - 1) : self.batch_size * step]
        return sum(len(row.token_ids) for row in batch)


@dataclass(frozen=True)
class Share:
    """The rows of a fit that one process computes, `batch_size` of them per optimizer step."""

    rows: Sequence[AnyRow]
    batch_size: int


@dataclass(frozen=True)
class Fitted:
    """The trained weights of a fit, and its statistics."""

    weights: Weights
    steps: list[StepStatistics]
    """Statistics of the trained tokens, one entry per optimizer step."""
    optimizer: bytes | None
    """AdamW state as bytes. None unless `train.optimizer = "carried"`."""
