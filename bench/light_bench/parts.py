"""The parts of a step: matrix products, attention, LoRA, statistics, sampler, and the host. Their sum is the step.

A part that can be switched off is the difference between two steps, one with it and one without. The rest is divided by a
profile of the step with everything switched off: the time of each operation, by kind. The host is the time in no operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PRODUCTS, ATTENTION, SAMPLER, OTHER, HOST = "products", "attention", "sampler", "norms, activations, copies", "host"
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Attention first: its kernels may have a product in their name.
    (ATTENTION, ("attention", "attn", "flash", "fmha", "softmax", "kv_cache", "reshape_and_cache")),
    (PRODUCTS, ("onednn_mm", "gemm", "gemv", "cutlass", "cublas", "nvjet", "xmma", "::mm", "::addmm", "::linear",
                "mkldnn", "splitk", "::bmm", "::baddbmm", "grouped_mm")),
    (SAMPLER, ("gumbel", "argmax", "multinomial", "exponential", "topk", "top_k", "::sort", "random", "philox")),
)  # fmt: skip
"""Kinds of operations and the parts of names that tell them, in order."""
SWITCHED, PROFILED, TIMED = "switched off", "profiled", "timed apart"


@dataclass(frozen=True)
class Part:
    """A part of a step in seconds. `how` tells how it was obtained."""

    name: str
    seconds: float
    how: str


def kind(operation: str) -> str:
    """Return the kind of an operation or kernel by its name."""
    lowered = operation.lower()
    return next((name for name, words in KINDS if any(word in lowered for word in words)), OTHER)


def by_kind(operations: Mapping[str, float], wall: float) -> dict[str, float]:
    """Return the seconds of each kind of operation of a profile, and of the host: what remains of `wall`."""
    found = dict.fromkeys([name for name, _ in KINDS] + [OTHER], 0.0)
    for operation, seconds in operations.items():
        found[kind(operation)] += seconds
    return found | {HOST: max(0.0, wall - sum(found.values()))}


def parts_of(
    chain: Sequence[tuple[str, float]], profile: Mapping[str, float], how: Mapping[str, str] | None = None
) -> list[Part]:
    """Divide a step.

    Args:
        chain: Steps from the plainest to the whole one, each with the name of what it has more than the one before. The
            first name does not count.
        profile: Seconds by kind of the plainest step, while it was profiled.
        how: How a part was obtained, by name, if neither by a switch nor by the profile.

    Returns:
        The parts. Their sum is the last step of the chain. A difference may be negative: it is noise, or a gain.
    """
    (_, plain), *more = chain
    whole = sum(profile.values())
    how = how or {}
    parts = [
        Part(name, plain * seconds / whole, how.get(name, PROFILED)) for name, seconds in profile.items() if seconds
    ]
    before = plain
    for name, seconds in more:
        parts.append(Part(name, seconds - before, how.get(name, SWITCHED)))
        before = seconds
    return parts
