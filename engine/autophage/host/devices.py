"""Device, element type and memory of this process, as torch reports them."""

from __future__ import annotations

import torch

OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Messages of torch's plain `RuntimeError` for exhausted memory: its CPU allocator, pinned memory, and libraries that allocate
themselves."""


def device() -> torch.device:
    """Return the device of this process. It is CUDA if available, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def element_type(dtype: str) -> torch.dtype:
    """Return the compute type of sampler and trainer for its name: auto, float32 or bfloat16.

    "auto" is float32 on a CPU and bfloat16 on a GPU.
    """
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def device_memory() -> int:
    """Return the total memory of this process's first GPU in bytes."""
    return int(torch.cuda.get_device_properties(0).total_memory)


def limit_memory(share: float) -> None:
    """Limit this process to a share of its GPU's memory. It runs out of memory beyond that."""
    torch.cuda.set_per_process_memory_fraction(share)


def out_of_memory(error: BaseException) -> bool:
    """Return True if `error` reports exhausted memory of a GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def give_back_memory() -> None:
    """Give the freed GPU memory that torch caches back to the driver, for other processes.

    Without a GPU, nothing happens.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
