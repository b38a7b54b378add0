"""The speed of light of a generation: the bytes that must move and the FLOPs that must be made, over what a GPU can do.

    decode step   t(B) = max( (W + B (p + L/2) k + K A) / bandwidth , 2 P B / throughput )
    sampling      T_S >= max( N L / B t(B) , 2 P N L / throughput ) + 2 P N p / throughput
    training      T_T >= 4 P N M / throughput                 LoRA: forward 2, backward through frozen weights 2
    swap          T_W >= 2 A / bandwidth
    generation    T   >= T_S + T_T + T_W

P parameters, W their bytes, k bytes of KV cache a token, A bytes of an adapter, K adapters in the batch of B sequences, N
samples of L tokens after prompts of p, trained on as rows of M tokens. Nothing is known of kernels, launches or hosts: those
are what the fraction shows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Data-sheet peaks: bytes a second, and dense bfloat16 FLOPs a second."""

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
    """The peaks of a device, None where they are not known here: then nothing is a fraction of them."""
    return next((gpu for name, gpu in GPUS.items() if name in device), None)


@dataclass(frozen=True)
class Workload:
    """One generation of `arms` arms, of `samples` samples each."""

    parameters: int
    weight_bytes: int
    kv_bytes_per_token: int
    adapter_bytes: int
    samples: int
    prompt: int
    tokens: int
    trained: int
    concurrency: int
    epochs: float = 1.0
    arms: int = 1


def sampling(work: Workload, gpu: Gpu) -> float:
    """Seconds at least for sampling all arms in one batch."""
    total = work.arms * work.samples
    batch = min(work.concurrency, total)
    context = work.prompt + work.tokens / 2
    moved = work.weight_bytes + batch * context * work.kv_bytes_per_token + work.arms * work.adapter_bytes
    step = max(moved / gpu.bandwidth, 2 * work.parameters * batch / gpu.flops)
    prefill = 2 * work.parameters * total * work.prompt / gpu.flops
    return total * work.tokens / batch * step + prefill


def training(work: Workload, gpu: Gpu) -> float:
    tokens = work.arms * work.samples * work.trained * work.epochs
    return 4 * work.parameters * tokens / gpu.flops


def swap(work: Workload, gpu: Gpu) -> float:
    return 2 * work.arms * work.adapter_bytes / gpu.bandwidth


def generation(work: Workload, gpu: Gpu) -> float:
    return sampling(work, gpu) + training(work, gpu) + swap(work, gpu)
