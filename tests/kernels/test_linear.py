"""Fused heads on a CPU against float64 logits: whole rows, tiles of columns, biases, types and gradients."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.kernels import exact
from tests.present import present

from autophage_kernels import (
    head,
    linear_ops,
    linear_token_divergence,
    linear_token_stats,
    token_divergence,
    token_stats,
)
from autophage_kernels.statistics import NAMES

DIVERGENCES = ("kl", "reverse_kl", "cross_entropy", "entropy", "reference_entropy", "jsd")
DIFFERENTIABLE = ("logprob", "lse", "entropy", "varentropy")
V, H, T = 300, 24, 7


@pytest.fixture(params=["whole rows", "some rows", "tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tile as on a CPU, by all or some rows, and as on a GPU, by columns."""
    if request.param == "some rows":
        monkeypatch.setattr(head, "CPU_ROW_ELEMENTS", 3 * V)
        monkeypatch.setattr(head, "CPU_TILE", (3, 100))
    elif request.param == "tiles":
        monkeypatch.setattr(head, "whole_rows", lambda _: False)
        monkeypatch.setattr(head, "GPU_TILE", (3, 70))
    return str(request.param)


def inputs(dtype: torch.dtype, seed: int = 0, hidden_size: int = H) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (T, hidden_size), (V, hidden_size), (V,)
    return [torch.randn(*shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def logits_of(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    logits = hidden.to(dtype) @ weight.to(dtype).T
    return logits if bias is None else logits + bias.to(dtype)


TARGET = torch.tensor([0, V - 1, 5, 64, 65, 150, 299])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("transform", [{}, {"temperature": torch.linspace(0.5, 2, T), "softcap": 10.0}])
def test_statistics(tiles: str, dtype: torch.dtype, with_bias: bool, transform: dict[str, Any]) -> None:
    hidden, weight, own_bias = inputs(dtype)
    bias = own_bias if with_bias else None
    found = linear_token_stats(hidden, weight, TARGET, bias, **transform)
    truth = exact.statistics(logits_of(hidden, weight, bias, torch.float64), TARGET, torch.float64, **transform)
    yardstick = exact.statistics(logits_of(hidden, weight, bias, torch.float32), TARGET, torch.float32, **transform)
    for name in NAMES:
        values = getattr(found, name)
        if name in exact.INTEGERS:
            assert torch.equal(values, truth[name]), name
        else:
            exact.check_close(values.detach(), truth[name].detach(), yardstick[name].detach(), name, ulps=2.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_divergences(tiles: str, dtype: torch.dtype) -> None:
    (hidden, weight, bias), (other, other_weight, other_bias) = inputs(dtype), inputs(dtype, seed=1, hidden_size=16)
    found = linear_token_divergence(
        hidden,
        weight,
        other,
        other_weight,
        bias,
        other_bias,
        divergences=DIVERGENCES,
        temperature=torch.linspace(0.5, 2, T),
    )
    results = {}
    for kind in (torch.float64, torch.float32):
        p, q = logits_of(hidden, weight, bias, kind), logits_of(other, other_weight, other_bias, kind)
        results[kind] = exact.divergences(p, q, kind, torch.linspace(0.5, 2, T))
    for name, values in found._asdict().items():
        truth, yardstick = (results[kind][name].detach() for kind in (torch.float64, torch.float32))
        exact.check_close(values.detach(), truth, yardstick, name, ulps=3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients(tiles: str, dtype: torch.dtype) -> None:
    leaves, others = inputs(dtype), [tensor.detach() for tensor in inputs(dtype, seed=1)]
    target = TARGET.clone()
    target[2], target[3] = -100, V
    stats = linear_token_stats(leaves[0], leaves[1], target, leaves[2], softcap=20.0)
    pair = linear_token_divergence(leaves[0], leaves[1], others[0], others[1], leaves[2], divergences=DIVERGENCES)
    total = (
        sum(getattr(stats, name).nan_to_num().sum() for name in DIFFERENTIABLE)
        + sum(map(present, pair[:4])).sum()  # type: ignore[union-attr]  # 0 for no tensors only
        + present(pair.jsd).sum()
    )
    logits = logits_of(leaves[0], leaves[1], leaves[2], torch.float64)
    expected = token_stats(logits, target, softcap=20.0)
    reference = logits_of(others[0], others[1], None, torch.float64)
    wanted = token_divergence(logits, reference, divergences=DIVERGENCES)
    truth = (
        sum(getattr(expected, n).nan_to_num().sum() for n in DIFFERENTIABLE)
        + sum(map(present, wanted[:4])).sum()  # type: ignore[union-attr]  # as above
        + present(wanted.jsd).sum()
    )
    for found, right in zip(torch.autograd.grad(total, leaves), torch.autograd.grad(truth, leaves), strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(found, right, atol=tolerance, rtol=tolerance)


def test_any_leading_dimensions(tiles: str) -> None:
    hidden, weight, _ = inputs(torch.float32)
    sliced = torch.randn(2, 4, H)[:, 1:]
    for states in (hidden[0], hidden[:6].view(2, 3, H), sliced, torch.randn(H, 5).T):
        target = torch.zeros(states.shape[:-1], dtype=torch.long)
        found = linear_token_stats(states, weight, target)
        assert all(getattr(found, name).shape == states.shape[:-1] for name in NAMES)
        truth = token_stats(states.double() @ weight.double().T, target)
        torch.testing.assert_close(present(found.logprob).double(), present(truth.logprob), atol=1e-5, rtol=1e-5)
    wide = torch.randn(V, 2 * H)[:, ::2]
    torch.testing.assert_close(linear_token_stats(hidden, wide).lse, token_stats(hidden @ wide.T).lse)


def test_a_target_is_not_ranked_above_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate dot product may differ from the tile's value in its last bits. The target must not outrank itself."""
    monkeypatch.setattr(head, "whole_rows", lambda _: False)
    monkeypatch.setattr(head, "GPU_TILE", (3, 70))
    hidden, weight, _ = inputs(torch.float32)
    logits = hidden.double() @ weight.double().T
    target_logits = head.target_logits
    for target in (logits.argmax(1), logits.topk(2).indices[:, 1]):
        truth = exact.statistics(logits, target, torch.float64)
        for shift in (-1e-5, 1e-5):
            monkeypatch.setattr(linear_ops, "target_logits", lambda *inputs, by=shift: target_logits(*inputs) + by)
            found = linear_token_stats(hidden, weight, target)
            assert torch.equal(present(found.rank), truth["rank"])
            assert torch.equal(present(found.ties), truth["ties"])
            torch.testing.assert_close(present(found.mass_above).double(), truth["mass_above"], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(present(found.logprob).double(), truth["logprob"], atol=1e-5, rtol=1e-5)


def test_ties_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal rows of the weight are equal logits, in whichever tile they are."""
    monkeypatch.setattr(head, "whole_rows", lambda _: False)
    monkeypatch.setattr(head, "GPU_TILE", (8, 64))
    hidden, weight, _ = inputs(torch.float32)
    weight = weight.detach().round()  # whole numbers, which no order of additions rounds
    weight[[10, 100, 250]] = weight[200].clone()
    found = linear_token_stats(hidden.detach().round(), weight, torch.full((T,), 200))
    truth = exact.statistics(hidden.detach().round() @ weight.T, torch.full((T,), 200), torch.float64)
    assert torch.equal(present(found.ties), truth["ties"])
    assert torch.equal(present(found.rank), truth["rank"])
    assert (present(found.ties) >= 4).all()


def test_16_bit_heads_are_as_exact_as_float32_ones() -> None:
    """A tile in bfloat16 would cost 4e-2 nats (logits of standard deviation 4)."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 512, generator=generator).bfloat16()
    weight = (4 / 512**0.5 * torch.randn(V, 512, generator=generator)).bfloat16()
    target = torch.arange(8)
    truth = exact.statistics(hidden.double() @ weight.double().T, target, torch.float64)
    found = linear_token_stats(hidden, weight, target)
    for name in ("logprob", "entropy", "varentropy"):
        torch.testing.assert_close(getattr(found, name).double(), truth[name], atol=1e-5, rtol=1e-5)


def test_widths_of_tiles() -> None:
    for vocabulary in (1, 15, 300, 4096, 4097, 50257, 128256, 151936):
        width = head.even_width(vocabulary, 4096)
        spans = list(head.spans(vocabulary, width))
        assert spans[0].start == 0
        assert spans[-1].stop == vocabulary
        assert all(a.stop == b.start for a, b in pairwise(spans))
        assert width <= 4096 + 15
        assert len(spans) == 1 or (width % 16 == 0 and spans[-1].stop - spans[-1].start > width // 2)
