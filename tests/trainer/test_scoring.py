"""Batches of scoring: bounded by tokens on a GPU, by sequences too on a CPU; statistics survive the transfer."""

from __future__ import annotations

import math

import torch

from autophage.trainer.passes import CPU_PADDING, CPU_SEQUENCES, CPU_TOKENS, TOKEN_BUDGET, Budget, batches, on_device
from autophage.trainer.scoring import to_host


def test_a_gpu_fills_a_batch_with_tokens() -> None:
    lengths = [60 + index % 5 for index in range(1000)]
    on_gpu, on_cpu = (on_device(Budget(TOKEN_BUDGET), torch.device(name)) for name in ("cuda", "cpu"))
    found = list(batches(lengths, on_gpu))
    assert sorted(index for batch in found for index in batch) == list(range(1000))
    assert max(map(len, found)) > 4 * CPU_SEQUENCES
    for batch in found:
        assert len(batch) * max(lengths[index] for index in batch) <= TOKEN_BUDGET
    assert len(found) == -(-1000 * 64 // TOKEN_BUDGET)
    assert max(len(batch) * 60 for batch in batches(lengths, on_cpu)) <= CPU_TOKENS
    assert max(map(len, batches([3] * 1000, on_cpu))) == CPU_SEQUENCES


def test_a_cpu_pads_little() -> None:
    lengths = [10 + 7 * index % 301 for index in range(200)]
    for batch in batches(lengths, on_device(Budget(TOKEN_BUDGET), torch.device("cpu"))):
        own = [lengths[index] for index in batch]
        assert len(own) * max(own) - sum(own) <= CPU_PADDING


def test_half_the_tokens_for_two_models() -> None:
    assert Budget(100, 64).shared(2) == Budget(50, 64)


def test_a_sequence_beyond_the_budget_is_a_batch() -> None:
    assert list(batches([5, 200, 5], Budget(100))) == [[0, 2], [1]]


def test_statistics_survive_the_transfer_bit_by_bit() -> None:
    values_T = torch.tensor([math.nan, math.inf, -math.inf, 1 / 3, -1e-42, 0.0])
    ranks_T = torch.tensor([1, 2**31 + 1, 128_256, 3, 4, 5])
    narrow_T = values_T.bfloat16()
    for sent, found in zip((values_T, ranks_T, narrow_T), to_host([values_T, ranks_T, narrow_T]), strict=True):
        assert found.dtype == sent.dtype
        assert found.device.type == "cpu"
        assert torch.equal(found.nan_to_num(nan=7.0), sent.nan_to_num(nan=7.0))
