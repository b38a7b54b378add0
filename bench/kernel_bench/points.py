"""Points of measurement: a task, a shape, and the least cost.

A point knows bytes and FLOPs and no device. `Limits` turns them into milliseconds. Bytes are those of `[T, V]`, `[T, H]` and
`[V, H]` tensors that must be read or written once, at the width of the dtype. Tensors with one value a row are left out, as
they are less than a thousandth. FLOPs are those of matrix products. A product computed again in a backward pass is not
counted, as it saves memory and adds no result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Task = Literal["logits", "pair", "head", "heads"]
"""Statistics of logits, divergences between two logits, and both from hidden states with the LM head fused in."""
Direction = Literal["forward", "backward", "both"]
Data = Literal["normal", "zipf", "ramp"]

STATISTICS: dict[str, tuple[str, ...] | None] = {
    "two": ("logprob", "entropy"),
    "three": ("logprob", "entropy", "varentropy"),
    "all": None,
}
DIVERGENCES: dict[str, tuple[str, ...] | None] = {"kl": ("kl",), "onepass": None, "jsd": ("jsd",)}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

SHORT = 256
"""Largest number of rows at which the time of a launch shows. Such points are also measured in a CUDA graph, cold and hot."""


@dataclass(frozen=True)
class Limits:
    """Peaks of a device: bytes a second, and FLOPs a second of matrix products."""

    bandwidth: float
    throughput: float


@dataclass(frozen=True)
class KernelPoint:
    """One thing to measure."""

    task: Task
    outputs: str
    rows: int
    vocabulary: int
    dtype: str = "bf16"
    direction: Direction = "forward"
    data: Data = "normal"
    hidden: int = 0

    @property
    def name(self) -> str:
        shape = f"T{self.rows}/V{self.vocabulary}" + (f"/H{self.hidden}" if self.hidden else "")
        return f"{self.task}/{self.outputs}/{self.direction}/{self.dtype}/{shape}/{self.data}"

    @property
    def input_key(self) -> tuple[object, ...]:
        """Equal for points that can share tensors."""
        return self.task, self.rows, self.vocabulary, self.hidden, self.dtype, self.data, self.direction == "forward"

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def names(self) -> tuple[str, ...] | None:
        """Statistics or divergences asked for; None is everything that one pass gives."""
        return (STATISTICS if self.task in ("logits", "head") else DIVERGENCES)[self.outputs]

    @property
    def logits_bytes(self) -> int:
        """Bytes of one `[T, V]` tensor in the point's dtype."""
        return self.rows * self.vocabulary * self.torch_dtype.itemsize

    @property
    def bytes(self) -> int:
        distributions = 2 if self.task in ("pair", "heads") else 1
        if self.hidden:
            heads = (self.rows + self.vocabulary) * self.hidden * self.torch_dtype.itemsize
            reads, writes = distributions * heads, heads
        else:
            reads, writes = distributions * self.logits_bytes, self.logits_bytes
        return {"forward": reads, "backward": reads + writes, "both": 2 * reads + writes}[self.direction]

    @property
    def flops(self) -> int:
        product = 2 * self.rows * self.vocabulary * self.hidden
        forward = product * (2 if self.task == "heads" else 1)
        return {"forward": forward, "backward": 2 * product, "both": forward + 2 * product}[self.direction]

    def ideal_ms(self, limits: Limits) -> float:
        return 1e3 * max(self.bytes / limits.bandwidth, self.flops / limits.throughput)


def gpu_points() -> list[KernelPoint]:
    """The full sweep, most important points first. A budget cuts it from the end."""
    llama = 128_256
    return [
        KernelPoint("logits", "three", 8192, llama),
        KernelPoint("logits", "two", 8192, llama),
        KernelPoint("logits", "all", 8192, llama),
        KernelPoint("logits", "three", 8192, llama, data="zipf"),
        KernelPoint("logits", "all", 8192, llama, data="zipf"),
        KernelPoint("head", "three", 8192, llama, hidden=2048),
        KernelPoint("head", "three", 8192, llama, hidden=4096),
        KernelPoint("logits", "three", 256, llama),
        KernelPoint("logits", "all", 256, llama),
        KernelPoint("logits", "three", 64, llama),
        KernelPoint("logits", "three", 8192, llama, "fp32"),
        KernelPoint("logits", "two", 8192, llama, direction="both"),
        KernelPoint("logits", "two", 8192, llama, direction="backward"),
        KernelPoint("head", "two", 8192, llama, direction="both", hidden=2048, data="zipf"),
        KernelPoint("head", "two", 8192, llama, direction="both", hidden=4096, data="zipf"),
        KernelPoint("pair", "kl", 8192, llama),
        KernelPoint("pair", "onepass", 8192, llama),
        KernelPoint("heads", "kl", 8192, llama, hidden=2048),
        KernelPoint("logits", "three", 8192, 256_000),
        KernelPoint("head", "three", 8192, 256_000, hidden=2048),
        KernelPoint("logits", "three", 1, llama),
        KernelPoint("logits", "all", 8192, llama, data="ramp"),
        KernelPoint("logits", "two", 8192, 151_936),
        KernelPoint("logits", "three", 8192, 32_000),
        KernelPoint("logits", "three", 8192, 50_257),
        KernelPoint("logits", "three", 1024, llama),
        KernelPoint("logits", "three", 64, 256_000),
        KernelPoint("head", "two", 8192, llama, hidden=4096, data="zipf"),
        KernelPoint("pair", "kl", 8192, llama, direction="both", data="zipf"),
        KernelPoint("heads", "kl", 8192, llama, direction="both", hidden=2048, data="zipf"),
        KernelPoint("pair", "jsd", 8192, llama),
        KernelPoint("head", "all", 8192, llama, hidden=2048),
        KernelPoint("logits", "all", 1, 256_000),
    ]


def cpu_points() -> list[KernelPoint]:
    """Small, for the reference in plain torch against eager torch."""
    return [
        KernelPoint("logits", "all", 64, 128_256, "fp32"),
        KernelPoint("logits", "two", 64, 128_256, "fp32"),
        KernelPoint("logits", "all", 64, 128_256, "bf16", data="zipf"),
        KernelPoint("logits", "all", 256, 32_000, "fp32", data="zipf"),
        KernelPoint("logits", "two", 64, 50_257, "fp32", direction="both"),
        KernelPoint("head", "all", 64, 32_000, "fp32", hidden=256),
        KernelPoint("pair", "onepass", 64, 32_000, "fp32"),
    ]
