"""What the trainer's process sends to the driver's, which writes it: light, because the driver must not load torch to read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from autophage.store.answers import Answer
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights


@dataclass(frozen=True)
class Trained:
    """Trained weights, how many tokens they were trained on, and what each step's tokens looked like to the model."""

    weights: Weights
    tokens: int
    steps: list[StepStatistics]
    optimizer: bytes | None = None
    """AdamW's state, where the recipe carries it into the next generation."""
    metrics: list[Metric] = field(default_factory=list)
    """Of what it was trained on."""


class Measured(NamedTuple):
    """A generation's corpus with its statistics, every metric of it and its model, and the answers to questions."""

    samples: list[Sample]
    metrics: list[Metric]
    answers: list[Answer]
