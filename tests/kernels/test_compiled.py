"""Operations as custom ops: schemas, shapes without values, compilers and inference mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.present import present
from torch.library import opcheck

from autophage_kernels import (
    linear_ops,
    linear_token_stats,
    ops,
    token_divergence,
    token_stats,
)
from autophage_kernels.divergences import DIVERGENCE_COEFFICIENTS, DIVERGENCE_MOMENTS, chosen_divergences
from autophage_kernels.partial import COEFFICIENTS, MOMENTS
from autophage_kernels.statistics import chosen

STATISTICS = chosen(None, with_target=True)
DIVERGENCES = chosen_divergences(("kl", "reverse_kl", "cross_entropy", "entropy", "jsd"))


def arguments() -> dict[str, tuple[Any, tuple[object, ...]]]:
    torch.manual_seed(0)
    logits, other, target = torch.randn(2, 2, 9), torch.randn(2, 2, 9), torch.tensor([0, 8, -100, 3])
    heat, hidden, weight, bias = torch.rand(4) + 0.5, torch.randn(4, 5), torch.randn(9, 5), torch.randn(9)
    moments, coefficients = torch.rand(MOMENTS, 4), torch.rand(COEFFICIENTS, 4)
    pair_moments, pair_coefficients = torch.rand(DIVERGENCE_MOMENTS, 4), torch.rand(DIVERGENCE_COEFFICIENTS, 4)
    wanted = True, True, True

    def leaves(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.clone().requires_grad_() for tensor in tensors)

    (x,), head = leaves(logits), leaves(hidden, weight, bias)
    other_head = torch.randn(4, 3), torch.randn(9, 3), None
    return {
        "token_stats": (ops.token_stats_op, (x, target, heat, 3.0, -100, STATISTICS, False)),
        "token_stats, no target": (
            ops.token_stats_op,
            (x, None, None, 0.0, -100, chosen(["entropy"], with_target=False), True),
        ),
        "token_stats_backward": (ops.token_stats_backward_op, (logits, target, heat, 3.0, moments, coefficients)),
        "token_divergence": (ops.token_divergence_op, (x, other, heat, 3.0, DIVERGENCES, False)),
        "token_divergence_backward": (
            ops.token_divergence_backward_op,
            (logits, other, heat, 3.0, DIVERGENCES, pair_moments, pair_coefficients),
        ),
        "linear_token_stats": (linear_ops.linear_token_stats_op, (*head, target, heat, 3.0, -100, STATISTICS)),
        "linear_token_stats_backward": (
            linear_ops.linear_token_stats_backward_op,
            (hidden, weight, bias, target, heat, 3.0, moments, coefficients, *wanted),
        ),
        "linear_token_divergence": (
            linear_ops.linear_token_divergence_op,
            (*head, *other_head, heat, 3.0, DIVERGENCES),
        ),
        "linear_token_divergence_backward": (
            linear_ops.linear_token_divergence_backward_op,
            (hidden, weight, bias, *other_head, heat, 3.0, DIVERGENCES, pair_moments, pair_coefficients, *wanted),
        ),
    }


@pytest.mark.parametrize("name", list(arguments()))
def test_every_op_is_registered_as_it_behaves(name: str) -> None:
    op, values = arguments()[name]
    opcheck(op, values)


def total(logits: torch.Tensor, other: torch.Tensor, target: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    stats: Any = token_stats(logits, target, temperature=heat)
    pair: Any = token_divergence(logits, other, divergences=["kl", "jsd"], temperature=heat)
    head: Any = linear_token_stats(logits, other, target % other.shape[0])
    sums: torch.Tensor = (
        stats.logprob + 0.5 * stats.entropy + stats.varentropy + pair.kl + pair.jsd + head.logprob + head.entropy
    )
    result: torch.Tensor = sums.sum() + stats.rank.sum() + stats.max_prob.sum()
    return result


def inputs(rows: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    logits, other = (torch.randn(rows, 19, generator=generator) for _ in range(2))
    return logits.requires_grad_(), other, torch.arange(rows) % 19, torch.linspace(0.5, 2, rows)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.thorough)])
def test_compiled_as_one_graph_with_any_number_of_rows(backend: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, dynamic=True, backend=backend)
    for rows in (4, 7, 3):
        values = inputs(rows)
        found, expected = compiled(*values), total(*values)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(result, values[0])[0] for result in (found, expected)]
        torch.testing.assert_close(*gradients)


def test_another_temperature_compiles_nothing_anew() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(total, fullgraph=True, dynamic=True, backend=counter)
    for temperature in (0.5, 0.7, 1.0, 2.0):
        logits, other, target, _ = inputs(4)
        compiled(logits, other, target, torch.full((4,), temperature))
    assert counter.frame_count == 1


def test_inference_mode() -> None:
    logits, target = torch.randn(3, 9), torch.tensor([0, 1, 2])
    expected = token_stats(logits, target)
    with torch.inference_mode():
        found = token_stats(logits.clone(), target, temperature=1.0)
        assert torch.equal(present(found.entropy), present(expected.entropy))
        token_divergence(logits.clone(), logits, divergences=["jsd"])
        linear_token_stats(torch.randn(3, 4), torch.randn(9, 4), target)


def test_no_grad_keeps_nothing() -> None:
    logits = torch.randn(3, 9, requires_grad=True)
    with torch.no_grad():
        assert not present(token_stats(logits).entropy).requires_grad
