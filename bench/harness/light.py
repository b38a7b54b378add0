"""Lower bounds of a generation's time from the bytes and FLOPs that it must move and compute.

    decode step   t(B) = max( (W + B (p + L/2) k + K A) / bandwidth , 2 P B / throughput )
    sampling      T_S >= max( N L / B t(B) , 2 P N L / throughput ) + 2 P N p / throughput
    training      T_T >= 4 P N M / throughput                 LoRA: forward 2, backward through frozen weights 2
    swap          T_W >= 2 A / bandwidth
    generation    T   >= T_S + T_T + T_W

    P parameters        W their bytes            k bytes of KV cache a token     A bytes of an adapter
    K adapters          B sequences a batch      N samples of L tokens           p tokens of a prompt
    M tokens of a training row

The bounds know nothing of kernels, launches or hosts. The fraction of the bound that is reached shows their cost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Peaks of a data sheet: bytes a second and dense bfloat16 FLOPs a second."""

    bandwidth: float
    flops: float


# NVIDIA's data sheets, without sparsity. A name that is longer stands before the shorter one that it contains.
GPUS = {
    "H200": Gpu(4.8e12, 989e12),
    "H100 PCIe": Gpu(2.0e12, 756e12),
    "H100 NVL": Gpu(3.9e12, 835e12),
    "H100": Gpu(3.35e12, 989e12),
    "A100-SXM4-80GB": Gpu(2.039e12, 312e12),
    "A100 80GB PCIe": Gpu(1.935e12, 312e12),
    "A100": Gpu(1.555e12, 312e12),
    "L40S": Gpu(0.864e12, 362e12),
}


def named(device: str) -> Gpu | None:
    """Peaks of a device, or None if the device is not listed."""
    return next((gpu for name, gpu in GPUS.items() if name in device), None)


@dataclass(frozen=True)
class GenerationWork:
    """One generation of `arms` arms, of `samples` samples each."""

    parameters: int
    weight_bytes: int
    kv_bytes_per_token: int
    adapter_bytes: int
    samples: int
    prompt: int
    tokens: int
    trained: float
    concurrency: int
    epochs: float = 1.0
    arms: int = 1


def sampling(work: GenerationWork, gpu: Gpu) -> float:
    """Seconds at least for sampling all arms in one batch."""
    total = work.arms * work.samples
    batch = min(work.concurrency, total)
    context = work.prompt + work.tokens / 2
    moved = work.weight_bytes + batch * context * work.kv_bytes_per_token + work.arms * work.adapter_bytes
    step = max(moved / gpu.bandwidth, 2 * work.parameters * batch / gpu.flops)
    prefill = 2 * work.parameters * total * work.prompt / gpu.flops
    return total * work.tokens / batch * step + prefill


def training(work: GenerationWork, gpu: Gpu) -> float:
    tokens = work.arms * work.samples * work.trained * work.epochs
    return 4 * work.parameters * tokens / gpu.flops


def swap(work: GenerationWork, gpu: Gpu) -> float:
    return 2 * work.arms * work.adapter_bytes / gpu.bandwidth


def generation(work: GenerationWork, gpu: Gpu) -> float:
    return sampling(work, gpu) + training(work, gpu) + swap(work, gpu)
