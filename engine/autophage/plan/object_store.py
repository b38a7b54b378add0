"""The size of Ray's object store, from the weights that a run has in transit.

    wanted = MARGIN + sum over arms of GENERATIONS x bytes of the trained weights, with their optimizer state if it is carried

A model stays in the store from its training until the next generation is committed. Ray writes what exceeds the store to
disk, so a small one is slow but right. A private Ray alone is sized here: an existing cluster has a store already.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autophage.host.machine import GIB, memory_available
from autophage.plan.shape import Shape, shape_of
from autophage.recipe.arms import Arm

MARGIN = 512 << 20
"""Bytes for corpora and results in transit, and the least store. A generation of the largest shipped recipe has a few MB."""
GENERATIONS = 2
"""Models of an arm in the store: the last committed one, and the one in progress."""
TRAINED_BYTES, MOMENTS_BYTES = 4, 8
"""Bytes per trained parameter: float32 weights, and AdamW's two moments."""
MEMORY_SHARE = 0.3
"""Largest share of the available memory. Sampler and trainer need the rest; it is also Ray's own default."""
SHM_SHARE = 0.8
"""Largest share of the free shared memory. The processes of a tensor-parallel vLLM exchange messages in the rest."""
SLOW_LIMIT = 9 * GIB
"""Largest store outside of shared memory. Ray refuses to start with more than 10 GB there."""
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class ObjectStore:
    """Bytes of Ray's object store. `warning` tells the user that they are too few; else it is empty."""

    size: int
    warning: str = ""


def store_here(arms: Sequence[Arm]) -> ObjectStore:
    """Return the object store of a run on this machine."""
    shape = shape_of(arms[0].recipe)
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return bounded(wanted_bytes(arms, shape), memory_available()[0], free)


def wanted_bytes(arms: Sequence[Arm], shape: Shape | None) -> int:
    """Return the bytes that all arms of a run have in transit at once.

    A model of unknown shape counts as 0. Its size is not known before it is loaded.
    """
    return MARGIN + GENERATIONS * sum(_model_bytes(arm, shape) for arm in arms if shape is not None)


def _model_bytes(arm: Arm, shape: Shape | None) -> int:
    if shape is None:
        return 0
    model, carried = arm.recipe.model, arm.recipe.train.optimizer == "carried"
    trained = shape.parameters if model.method == "full" else shape.adapter_per_rank * model.rank
    return trained * (TRAINED_BYTES + MOMENTS_BYTES * carried)


def bounded(wanted: int, memory: int, shared_memory: int) -> ObjectStore:
    """Return the object store for `wanted` bytes on a machine.

    Args:
        memory: Available bytes of memory.
        shared_memory: Free bytes of /dev/shm.
    """
    by_memory, by_shm = max(MARGIN, round(MEMORY_SHARE * memory)), round(SHM_SHARE * shared_memory)
    size = min(wanted, by_memory, by_shm)
    if size >= wanted:
        return ObjectStore(wanted)
    asked = f"models in transit take up to {wanted / GIB:.1f} GiB"
    if by_shm < MARGIN:
        size = min(wanted, by_memory, SLOW_LIMIT)
        return ObjectStore(
            size,
            f"{asked}, but /dev/shm has {shared_memory / GIB:.2f} GiB free: Ray keeps {size / GIB:.1f} GiB on disk instead, "
            f"which is slow. {_remedy(wanted)}",
        )
    if by_shm <= by_memory:
        cause, remedy = f"/dev/shm has {shared_memory / GIB:.1f} GiB free", _remedy(wanted)
    else:
        cause, remedy = (
            f"{memory / GIB:.1f} GiB of memory are available",
            "Sweep fewer arms at once, or lower model.rank.",
        )
    return ObjectStore(
        size, f"{asked}, but {cause}: Ray's object store has {size / GIB:.1f} GiB and writes the rest to disk. {remedy}"
    )


def _remedy(wanted: int) -> str:
    return f"Start the container with --shm-size={-(-wanted * 5 // (4 * GIB))}g."
