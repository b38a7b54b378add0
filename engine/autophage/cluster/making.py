"""What a cell holds of the generations in the making, of the stages under way, and of actors on their way back. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autophage.cluster.scheduler import Side, Stage, Work
from autophage.store.answers import Answer
from autophage.store.manifest import Metric
from autophage.store.training import StepStatistics


@dataclass
class Making:
    """What exists so far of the generation an arm is at."""

    weights: Any = None
    installing: Any = None
    """A reference to what the sampler holds it as; None while it holds nothing."""
    served: Any = None
    canaries: Any = None
    """A reference to what the sampler answered to the canary's prompts."""
    orders: Any = None
    """A reference to (requests, decoding): asked for while the trainer is free, used when sampling begins."""
    canary: float = 0.0
    answers: Any = None
    unfed: dict[int, list[int]] | None = None
    """Documents of this corpus that the next model's training, begun early, has not been handed yet; None without one."""
    samples: Any = None
    metrics: list[Metric] = field(default_factory=list)
    trained: list[Metric] = field(default_factory=list)
    """Of what the model was trained on."""
    answered: list[Answer] = field(default_factory=list)
    steps: list[StepStatistics] = field(default_factory=list)
    optimizer: bytes | None = None
    speed: dict[Stage, list[Metric]] = field(default_factory=dict)


@dataclass
class Running:
    """A stage in an actor's hands. `last` is when it last showed that it moves; `proved`, whether its engine was asked since."""

    work: Work
    started: float
    last: float
    seen: Any = None
    proved: bool = False


@dataclass(frozen=True)
class Begun:
    """What the trainer said when it was up, which every later one of the run must agree with.

    `settings` are what a sampler must make room for (`sampler.protocol.EngineSettings`).
    """

    facts: Mapping[str, Any]
    settings: Any
    canary_prompts: list[list[int]]


@dataclass
class Starting:
    """An actor that is on its way back: its side, and when it was started."""

    side: Side
    since: float


@dataclass(frozen=True)
class Finished:
    """A stage that has ended: how long it took, and the tokens it wrote or was trained on."""

    work: Work
    seconds: float
    tokens: int
    notes: Sequence[str] = ()
    """What its actor has to say to the user."""


@dataclass(frozen=True)
class Seen:
    """How far a running stage is."""

    work: Work
    done: int
    total: int
    tokens_per_second: float


def words_for(work: Work) -> str:
    return f"stage {work.stage.value} of {work.arm}, generation {work.generation}"


def key_of(work: Work) -> str:
    return f"{work.arm}@{work.generation}"


def speed_of(stage: Stage, seconds: float, tokens: int) -> list[Metric]:
    metrics = [Metric(f"speed/{stage.value}_seconds", seconds)]
    if tokens:
        metrics.append(Metric(f"speed/{stage.value}_tokens_per_second", tokens / seconds))
    return metrics
