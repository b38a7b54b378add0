"""What this process computes on: device and element type. The one place that asks torch about hardware."""

from __future__ import annotations

import torch

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch's plain `RuntimeError`s say of it: its CPU allocator, and libraries that allocate by themselves."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def element_type(dtype: str) -> torch.dtype:
    """The type that sampler and trainer compute in, by its name: auto, float32 or bfloat16.

    "auto" is float32 on a CPU and bfloat16 on a GPU.
    """
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def device_memory() -> int:
    """Bytes that this process's GPU has."""
    return int(torch.cuda.get_device_properties(0).total_memory)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: of a GPU, or of the machine as torch and Python tell it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def give_back_memory() -> None:
    """Hand what torch keeps of freed GPU memory back to the driver, so that another process can have it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
