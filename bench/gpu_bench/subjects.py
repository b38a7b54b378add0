"""Models, adapters, requests and engines of the steps, without a trainer where none is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpu_bench.plan import CONCURRENCY, Step
from harness.shapes import BLOCK, SHAPES
from harness.subject import Loop, random_model

if TYPE_CHECKING:
    from autophage.sampler.engine import Sampler
    from autophage.sampler.protocol import Decoding, Request, Served
    from autophage.store.weights import Weights

CANARY_ROOM = 16
"""Tokens beyond the prompt that every engine has room for, whatever the step's samples have."""
SPARE_ADAPTERS = 2


def loop_of(step: Step) -> Loop:
    """The step's experiment as a recipe has it."""
    return Loop(step.shape, step.samples, step.tokens, batch_size=step.batch_size, rank=step.rank)


def base(name: str = "base") -> Served:
    """The model without an adapter."""
    from autophage.sampler.protocol import Served

    return Served(name, 0, "")


def requests(step: Step) -> list[Request]:
    """As many requests as an engine computes at once, with prompts of random tokens."""
    import random

    from autophage.sampler.protocol import Request

    draw, vocabulary = random.Random(0), SHAPES[step.shape].vocabulary
    prompts = [[draw.randrange(3, vocabulary) for _ in range(BLOCK)] for _ in range(min(step.samples, CONCURRENCY))]
    return [Request(prompt, seed) for seed, prompt in enumerate(prompts)]


def decoding(step: Step) -> Decoding:
    """Pure sampling to the full length."""
    from autophage.sampler.protocol import Decoding

    return Decoding(step.tokens, 1.0, 1.0, 0, ())


def engine_alone(step: Step, slots: int) -> Sampler:
    """The engine's sampler on a GPU of its own. 0 slots mean an engine without LoRA; nothing else differs."""
    import torch

    from autophage.sampler.engine import Sampler
    from autophage.sampler.protocol import EngineSettings

    shape, gpu = SHAPES[step.shape], torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    return Sampler(
        EngineSettings(
            model_path=str(random_model(step.shape)),
            seed=0,
            rank=step.rank if slots else 0,
            target_modules=tuple(shape.linears) if slots else (),
            longest=BLOCK + max(step.tokens, CANARY_ROOM),
            concurrency=min(step.samples, CONCURRENCY),
            mixed=max(1, slots),
            adapters=slots + SPARE_ADAPTERS,
            dtype=str(dtype).removeprefix("torch."),
            device="cuda" if gpu else "cpu",
            memory=None,
            kv_bytes_per_token=shape.kv_bytes_per_token(dtype.itemsize),
            shares_device=False,
        )
    )


def random_adapter(step: Step, seed: int) -> Weights:
    """An adapter of all linear layers as PEFT stores it. B is not zero, and speed depends on shapes alone."""
    import safetensors.torch
    import torch
    from peft import LoraConfig

    from autophage.store.weights import Weights

    shape, rank = SHAPES[step.shape], step.rank
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (block, inputs, outputs) in shape.linears.items():
        for layer in range(shape.layers):
            at = f"base_model.model.model.layers.{layer}.{block}.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            tensors[f"{at}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator) * 0.02
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=[*shape.linears]).to_dict()
    plain = {**config, "target_modules": sorted(config["target_modules"]), "inference_mode": True}
    return Weights(safetensors.torch.save(tensors), json.loads(json.dumps(plain, default=str)))


def divided(served: Sequence[Served], step: Step, asked: Sequence[Request]) -> list[Any]:
    """Jobs of one batch: the requests in turns over the models."""
    from harness.engine import job

    return [job(one, asked[number :: len(served)], decoding(step)) for number, one in enumerate(served)]
