"""Requests to a sampler and its completions: plain data, free of torch and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autophage.metrics.scored import Statistics


@dataclass(frozen=True)
class Decoding:
    """Settings by which the tokens of a document are chosen."""

    max_tokens: int
    """Largest number of tokens of a document, without its prompt."""
    temperature: float
    top_p: float
    top_k: int
    stop_ids: tuple[int, ...]
    """Ids of tokens that end a document. Without any, each document has `max_tokens` tokens."""
    repetition_penalty: float = 1.0
    """Divisor of the positive logits of tokens that have occurred, and factor of the negative ones (arXiv 1909.05858).

    Tokens of the prompt count as occurred.
    """
    beams: int = 1
    """Number of beams of a beam search; 1 samples instead."""


@dataclass(frozen=True)
class Request:
    """One document to write after a prompt of token ids.

    `seed` alone decides its random numbers, whatever else is in the batch.
    """

    prompt_ids: list[int]
    seed: int
    decoding: Decoding | None = None
    """Replaces the decoding of its job."""


@dataclass(frozen=True)
class Completion:
    """Continuation of a prompt as token ids, stop token included.

    `logprobs` are vLLM's own, in nats. They exist for a canary only.
    """

    token_ids: list[int]
    finish_reason: str
    logprobs: list[float] | None = None
    statistics: Statistics | None = None
    """Statistics of each token under the raw distribution, at temperature 1 and without truncation.

    None where nothing was observed.
    """


@dataclass(frozen=True)
class Served:
    """Handle of a model that the sampler holds.

    Every (arm, generation) gets a fresh name and adapter id, which are never reused. A model of which all weights were
    trained has no adapter. Its id is 0, and requests for it carry none.
    """

    name: str
    adapter_id: int
    digest: str
    base: str | None = None
    """Name of the model's whole weights; None is the base model that the engine was started with."""


@dataclass(frozen=True)
class Job:
    """The requests to one model. Jobs of several models make one batch."""

    served: Served
    requests: Sequence[Request]
    decoding: Decoding


@dataclass(frozen=True)
class EngineSettings:
    """Sizes of a sampler's engine. The trainer derives them from the recipe and the model."""

    model_path: str
    seed: int
    rank: int
    """Largest rank of an arm's adapter; 0 where no arm has one."""
    target_modules: tuple[str, ...]
    longest: int
    """Tokens of the longest prompt with its sample."""
    concurrency: int
    """Sequences that the engine computes at once, at most."""
    mixed: int
    """Adapters of one batch, at most."""
    adapters: int
    """Maximum number of registered adapters."""
    dtype: str
    device: str
    memory: float | None
    """Share of the GPU, or GiB of KV cache on a CPU. None takes the default."""
    kv_bytes_per_token: int
    """Bytes of the keys and values of one token in the KV cache, over all layers."""
    shares_device: bool
    """True if the trainer uses the same GPU."""
    sleeps: bool = False
    """True if the sampler frees its memory between calls, because sampler and trainer share a GPU in turns."""
    tensor_parallel: int = 1
    """Workers of one machine over which the model is split. On GPUs each has a device of its own."""
    quantized: bool = False
    """True if the checkpoint is quantised. vLLM may then refuse another element type for the head."""
    beam_recipe: str | None = None
    """The recipe as JSON where documents are found by beam search, without vLLM (`stages.beam`)."""
