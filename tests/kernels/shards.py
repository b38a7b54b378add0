"""One process of a vocabulary-parallel head: its shards of given logits, and what it gives against the whole.

Run as `python shards.py RANK WORLD FILE CASES`, where FILE is what the processes meet by and CASES holds the logits.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from autophage_kernels import token_stats, vocabulary_parallel_token_stats

DIFFERENTIABLE = ("logprob", "lse", "entropy", "varentropy")


def main(rank: int, world: int, meeting: str, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", timedelta(seconds=120), world, rank)
    for case in torch.load(path):
        compare(rank, **case)
    dist.destroy_process_group()


def compare(
    rank: int,
    name: str,
    logits: torch.Tensor,
    target: torch.Tensor | None,
    shards: list[tuple[int, int]],
    options: dict[str, Any],
) -> None:
    start, stop = shards[rank]
    shard, whole_logits = logits[..., start:stop].clone().requires_grad_(), logits.clone().requires_grad_()
    found = vocabulary_parallel_token_stats(shard, target, first_column=start, vocabulary=logits.shape[-1], **options)
    whole = token_stats(whole_logits, target, **options)
    for field, values in whole._asdict().items():
        assert (values is None) == (getattr(found, field) is None), field
        if values is not None:
            close(getattr(found, field), values, f"{name}, {field}")
    asked = [field for field in DIFFERENTIABLE if getattr(whole, field) is not None]
    weights = torch.linspace(0.5, 2, whole.entropy.numel()).view(whole.entropy.shape)
    for stats in (found, whole):
        sum((weights * getattr(stats, field)).sum() for field in asked).backward()
    close(shard.grad, whole_logits.grad[..., start:stop], f"{name}, gradient")


def close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    torch.testing.assert_close(
        found, expected, equal_nan=True, atol=1e-5, rtol=1e-6, msg=lambda message: f"{what}: {message}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
