"""Generations that are not committed yet: the results of their stages, in the order in which the stages end.

Plain data without Ray calls. A field is None until the stage that makes it has ended. Weights and optimizer state are
references, so that the driver holds no copy of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from autophage.cluster.clients import Orders
from autophage.cluster.scheduler import Stage, Work
from autophage.sampler.protocol import Completion, Served
from autophage.store.canary import CanaryRecord
from autophage.store.commit import Generation
from autophage.store.manifest import Metric
from autophage.store.messages import Measured, TrainingRecord
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")


@dataclass(frozen=True)
class Installation:
    """A swap in progress: references to the results of sampler and trainer."""

    served: ObjectRef[Served]
    canary: ObjectRef[list[Completion]]
    """The sampler's completions of the canary prompts."""


@dataclass
class PartialGeneration:
    """The results of a generation that is not committed yet. A field is None until its stage has ended."""

    weights: ObjectRef[Weights] | None = None
    """Set when the training starts; at generation 0 when the swap does."""
    optimizer: ObjectRef[bytes | None] | None = None
    """AdamW's state after the training. None at generation 0, as is `trained`: the base model is not trained."""
    trained: TrainingRecord | None = None
    installation: Installation | None = None
    """None again once the sampler has removed the model."""
    orders: ObjectRef[Orders] | None = None
    """Requested at the swap, while the trainer is free, and used when sampling begins."""
    served: Served | None = None
    canary: CanaryRecord | None = None
    completions: list[Completion] | None = None
    measured: Measured | None = None
    speed: dict[Stage, list[Metric]] = field(default_factory=dict)
    """Metrics of each stage's duration. A stage that is repeated replaces its own."""

    def as_generation(self, work: Work, seed: int, weights: Weights, optimizer: bytes | None) -> Generation:
        """Return the finished generation, ready for its commit.

        Args:
            seed: Seed of the run.
            weights: The object behind `weights`.
            optimizer: The object behind `optimizer`.
        """
        trained, measured = self.trained, ended(self.measured)
        return Generation(
            arm=work.arm,
            generation=work.generation,
            weights=weights,
            served_as=ended(self.served).name,
            samples=measured.samples,
            metrics=[
                *measured.metrics,
                *(trained.metrics if trained else ()),
                *(metric for metrics in self.speed.values() for metric in metrics),
            ],
            canary=self.canary,
            seed=seed,
            steps=trained.steps if trained else [],
            optimizer=optimizer,
            answers=measured.answers,
        )


class PartialGenerations:
    """The generations of a cell that are not committed yet, by arm and generation."""

    def __init__(self) -> None:
        self._of: dict[str, PartialGeneration] = {}

    def of(self, work: Work) -> PartialGeneration:
        """Return the generation that a stage belongs to. Its first stage makes it."""
        return self._of.setdefault(work.key, PartialGeneration())

    def find(self, work: Work) -> PartialGeneration | None:
        """Return the generation that a stage belongs to. None where none of its stages was started here."""
        return self._of.get(work.key)

    def pop(self, work: Work) -> PartialGeneration:
        """Remove and return the generation that a stage belongs to."""
        return self._of.pop(work.key)


def ended(result: T | None) -> T:
    """Return the result of a stage that must have ended. None is that of one that has not.

    Raises:
        RuntimeError: The stage has not ended, so the scheduler started the next one too soon.
    """
    if result is None:
        raise RuntimeError("a stage was started before the stage whose result it needs had ended")
    return result
