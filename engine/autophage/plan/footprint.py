"""Bytes of a run, in memory and on disk, from the shape of its model and its recipe.

`plan.memory` divides a GPU between sampler and trainer. On a CPU both are processes that share one memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autophage.plan.machines import Machine
from autophage.plan.memory import OPTIMIZER_BYTES, Demand, Division, divide, sampler_bytes, trainer_bytes
from autophage.plan.shape import Shape, base_shape, teacher_shape
from autophage.plan.speeds import CORPUS_BYTES_PER_TOKEN, PlannedModel
from autophage.plan.tokens import longest_tokens, row_tokens, workload
from autophage.recipe.arms import Arm
from autophage.recipe.batching import cohorts_of
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE

COMPRESSION = 0.5
"""Compressed size (zstd) of a corpus shard, relative to its uncompressed size."""
SAMPLER_LIBRARIES, TRAINER_LIBRARIES, DRIVER_LIBRARIES = 900 << 20, 700 << 20, 500 << 20
"""Resident bytes of code and buffers in each process.

The sampler loads vLLM and torch. The trainer loads torch, TRL and transformers. The driver is the command with Ray.
"""
CPU_KV_BLOCK, CPU_LEAST_KV, CPU_MOST_KV = 128, 64 << 20, 4.0
"""Limits of vLLM's KV cache on a CPU, in this order.

They are the tokens per block, the least bytes, and the most GiB if `sample.memory` is left out.
"""
LOGIT_COPIES = 4
"""Copies of the logits that base-model training holds: two element types, the gradient, the softmax."""
SLOTS = 1
"""Default number of adapters in one batch of the sampler."""


@dataclass(frozen=True)
class Memory:
    """Bytes of memory that a run takes on one GPU of each side. On a CPU, bytes of each process.

    `sampler` and `trainer` are the two sides. `other` is the driver process on a CPU, and 0 on GPUs. `device` is a cell's
    part of the memory of one GPU, or the memory of the machine, 0 if unknown. `division` describes the sharing of that
    part. It is None on a CPU.
    """

    sampler: int
    trainer: int
    other: int
    device: int
    division: Division | None

    @property
    def total(self) -> int:
        return self.sampler + self.trainer + self.other


def memory(machine: Machine, recipe: Recipe, arms: Sequence[Arm], shape: Shape, gpus: tuple[int, int]) -> Memory:
    """Estimate the memory of a run in bytes. The arm that needs most decides.

    Args:
        gpus: Number of GPUs of one sampler and of one trainer.
    """
    slots = max(map(len, cohorts_of(arms)), default=SLOTS)
    asked = [demand(machine, arm.recipe, shape, gpus, slots) for arm in arms]
    largest = max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)
    if machine.kind == "gpu":
        part = machine.memory_bytes // recipe.cluster.sharing
        division = divide(part, largest, recipe.devices)
        whole = round(division.share * part) if division.share else division.sampler.total
        return Memory(whole, division.trainer.total, 0, part, division)
    return _host_memory(machine, recipe, largest)


def demand(
    machine: Machine, recipe: Recipe, shape: Shape, gpus: tuple[int, int] = (1, 1), slots: int = SLOTS
) -> Demand:
    """Return the quantities that decide the memory of a recipe on `machine`.

    Args:
        gpus: Number of GPUs of one sampler and of one trainer.
        slots: Number of adapters in one batch of the sampler.
    """
    width = {"float32": 4, "bfloat16": 2}.get(recipe.model.dtype, machine.width)
    teacher = teacher_shape(recipe)
    return Demand(
        shape=shape,
        rank=recipe.model.rank,
        adapters=slots,
        concurrency=recipe.sample.sequences,
        longest=longest_tokens(recipe),
        batch_tokens=math.ceil(recipe.train.batch_size * row_tokens(recipe)),
        width=width,
        full=recipe.model.method == "full",
        teacher=teacher.parameters if teacher else 0,
        sampler_gpus=gpus[0],
        trainer_gpus=gpus[1],
    )


def disk_bytes(recipe: Recipe, model: PlannedModel) -> float:
    """Estimate the bytes of one arm on disk: all corpora, and all trained weights in float32.

    Model 0 of an arm that trains all weights is the base model and takes no space.
    """
    sampled = sum(workload(recipe, generation).sample.tokens for generation in range(recipe.generations + 1))
    kept = recipe.generations + (0 if model.full else 1)
    return sampled * CORPUS_BYTES_PER_TOKEN * COMPRESSION + kept * model.trained * 4


def _host_memory(machine: Machine, recipe: Recipe, asked: Demand) -> Memory:
    sampler, trainer = sampler_bytes(asked), trainer_bytes(asked)
    blocks = math.ceil(asked.longest / CPU_KV_BLOCK) + 1
    wanted = asked.concurrency * blocks * CPU_KV_BLOCK * asked.shape.kv_elements * asked.width
    cache = min(max(CPU_LEAST_KV, wanted), (recipe.sample.memory or CPU_MOST_KV) * 2**30)
    serving = SAMPLER_LIBRARIES + sampler.weights + sampler.adapters + sampler.workspace + round(cache)
    # The head's tiles are small on a CPU. The base model is trained first, with its logits in memory.
    learning = trainer.weights + trainer.optimizer + trainer.copies + trainer.activations
    if recipe.model.path == FROM_SOURCE:
        base, shape = recipe.base, base_shape(recipe)
        per_token = 4 * (shape.vocabulary * LOGIT_COPIES + (12 * shape.hidden + 6 * shape.inner) * shape.layers)
        learning = max(learning, OPTIMIZER_BYTES * shape.parameters + base.batch_size * base.length * per_token)
    return Memory(serving, TRAINER_LIBRARIES + learning, DRIVER_LIBRARIES, machine.memory_bytes, None)
