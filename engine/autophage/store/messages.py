"""Results that the trainer sends to the driver, which writes them. Free of torch, which the driver does not load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from autophage.store.answers import Answer
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights


@dataclass(frozen=True)
class TrainingRecord:
    """Account of one training, without its weights: number of tokens, statistics of each step, metrics of the data."""

    tokens: int
    steps: list[StepStatistics]
    metrics: list[Metric]


@dataclass(frozen=True)
class Trained:
    """Result of one training: new weights, number of trained tokens, statistics of each step."""

    weights: Weights
    tokens: int
    steps: list[StepStatistics]
    optimizer: bytes | None = None
    """AdamW's state as safetensors bytes, if the recipe carries it into the next generation."""
    metrics: list[Metric] = field(default_factory=list)
    """Metrics of the training data."""

    @property
    def record(self) -> TrainingRecord:
        return TrainingRecord(self.tokens, self.steps, self.metrics)


class Measured(NamedTuple):
    """Result of one measurement: samples with their statistics, metrics of corpus and model, answers to questions."""

    samples: list[Sample]
    metrics: list[Metric]
    answers: list[Answer]
