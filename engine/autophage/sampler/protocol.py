"""What is asked of a sampler and what it answers: plain data, free of torch and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autophage.metrics.scored import Statistics


@dataclass(frozen=True)
class Decoding:
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop_ids: tuple[int, ...]
    """Empty: nothing ends a document before `max_tokens`."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens that have occurred, prompt included, are divided by it, negative ones multiplied (1909.05858)."""
    beams: int = 1


@dataclass(frozen=True)
class Request:
    """One document to write. `seed` decides its random numbers, whatever else is in the batch."""

    prompt_ids: list[int]
    seed: int
    decoding: Decoding | None = None
    """In place of its job's."""


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prompt, stop token included. `logprobs` are vLLM's own, of a canary only."""

    token_ids: list[int]
    finish_reason: str
    logprobs: list[float] | None = None
    statistics: Statistics | None = None
    """Of the raw distribution, at temperature 1 and without truncation. None where nothing was observed."""


@dataclass(frozen=True)
class Served:
    """A model that the sampler holds: fresh name, and id of its adapter, for every (arm, generation), never reused.

    A model of which all weights were trained has no adapter (id 0): requests for it carry none.
    """

    name: str
    adapter_id: int
    digest: str
    base: str | None = None
    """The whole weights that it is computed with, by name; None is the base model that the engine was started with."""


@dataclass(frozen=True)
class Job:
    """What one model is asked to write. Jobs of several models make one batch."""

    served: Served
    requests: Sequence[Request]
    decoding: Decoding


@dataclass(frozen=True)
class EngineSettings:
    """What the engine must make room for, derived from the recipe and the model by the trainer's side."""

    model_path: str
    seed: int
    rank: int
    """The largest rank of an arm's adapter; 0 where no arm has one."""
    target_modules: tuple[str, ...]
    longest: int
    """Tokens of the longest prompt with its sample."""
    concurrency: int
    mixed: int
    """Adapters that may take part in one batch."""
    adapters: int
    """Adapters that may be registered at once."""
    dtype: str
    device: str
    memory: float | None
    kv_bytes_per_token: int
    shares_device: bool
    sleeps: bool = False
    """Whether it puts its memory aside between calls, because the trainer needs it (a GPU that both share in turns)."""
    tensor_parallel: int = 1
    """Workers of one machine that the model is split over; on a GPU each has a device of its own."""
    beam_recipe: str | None = None
    """The recipe as JSON, where documents are searched for with beams: that sampler is no vLLM (`beam`)."""
