"""What is asked of a sampler and what it answers: plain data, free of torch and vLLM."""

from __future__ import annotations

from dataclasses import dataclass

CANARY_TOKENS = 16
"""Tokens of a canary answer."""


@dataclass(frozen=True)
class Request:
    """One document to write. `seed` decides its random numbers, whatever else is in the batch."""

    prompt_ids: list[int]
    seed: int


@dataclass(frozen=True)
class Decoding:
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop_ids: tuple[int, ...]
    """Empty: nothing ends a document before `max_tokens`."""


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prompt, stop token included. `logprobs` only where they were asked for."""

    token_ids: list[int]
    finish_reason: str
    logprobs: list[float] | None = None


@dataclass(frozen=True)
class Served:
    """An adapter that the sampler holds: fresh id and name for every (arm, generation), never reused."""

    name: str
    adapter_id: int
    digest: str


@dataclass(frozen=True)
class EngineSettings:
    """What the engine must make room for, derived from the recipe and the model by the trainer's side."""

    model_path: str
    seed: int
    rank: int
    target_modules: tuple[str, ...]
    longest: int
    """Tokens of the longest prompt with its sample."""
    concurrency: int
    adapters: int
    """Adapters that may be registered at once."""
    dtype: str
    device: str
    memory: float | None
    kv_bytes_per_token: int
    shares_device: bool
