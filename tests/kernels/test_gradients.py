"""Gradients on a CPU against finite differences in float64 and autograd of the plain formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions
from tests.present import present
from torch.autograd import gradcheck

from autophage_kernels import (
    TokenDivergence,
    head,
    linear_token_divergence,
    linear_token_stats,
    token_divergence,
    token_stats,
)

STATISTICS = ("logprob", "lse", "entropy", "varentropy")
DIVERGENCES = ("kl", "reverse_kl", "cross_entropy", "entropy", "jsd")
TRANSFORMS = [
    {},
    {"temperature": 0.7},
    {"softcap": 5.0},
    {"temperature": torch.tensor([0.5, 1.0, 2.0]), "softcap": 3.0},
]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_by_finite_differences(name: str, transform: dict[str, Any]) -> None:
    target = torch.tensor([0, 5, 3])
    assert gradcheck(lambda x: getattr(token_stats(x, target, **transform), name), leaf(random(3, 7)))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_by_finite_differences(name: str, transform: dict[str, Any]) -> None:
    reference = random(3, 7, seed=1).detach()
    assert gradcheck(
        lambda x: getattr(token_divergence(x, reference, divergences=[name], **transform), name), leaf(random(3, 7))
    )


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_heads_by_finite_differences(transform: dict[str, Any]) -> None:
    target = torch.tensor([0, 5, -100])
    inputs = [leaf(random(3, 4)), leaf(random(7, 4, seed=1)), leaf(random(7, seed=2))]

    def statistics(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = linear_token_stats(hidden, weight, target, bias, **transform)
        return tuple(getattr(found, name) for name in STATISTICS)

    def divergences(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        other = random(3, 5, seed=3).detach(), random(7, 5, seed=4).detach()
        found = linear_token_divergence(hidden, weight, *other, bias, divergences=DIVERGENCES, **transform)
        return tuple(getattr(found, name) for name in DIVERGENCES)

    assert gradcheck(statistics, inputs)
    assert gradcheck(divergences, inputs)


def weighted(found: dict[str, torch.Tensor], names: tuple[str, ...]) -> torch.Tensor:
    """A sum in which every row of every field has a weight of its own."""
    return sum(  # type: ignore[return-value]  # 0 for no names only
        (found[name] * torch.linspace(0.5, 1.5 + n, found[name].numel()).view_as(found[name])).sum()
        for n, name in enumerate(names)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", [{}, {"temperature": 0.7, "softcap": 20.0}])
def test_statistics_against_autograd(transform: dict[str, Any], dtype: torch.dtype) -> None:
    rows = torch.stack([row for row in distributions(1025).values() if row.isfinite().all()]).to(dtype)
    logits, target = leaf(rows), rows.float().argmax(1).roll(1)
    found = token_stats(logits, target, **transform)
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), STATISTICS), logits)
    held_to(gradient, rows, lambda x, kind: weighted(exact.statistics(x, target, kind, **transform), STATISTICS))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", [{}, {"temperature": 0.7, "softcap": 20.0}])
def test_divergences_against_autograd(transform: dict[str, Any], dtype: torch.dtype) -> None:
    rows = torch.stack(
        [row for row in distributions(1025).values() if row.isfinite().all() and row.abs().max() < 1000]
    ).to(dtype)
    logits, reference = leaf(rows), rows.roll(1, 0)
    found = token_divergence(logits, reference, divergences=DIVERGENCES, **transform)
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), DIVERGENCES), logits)
    held_to(gradient, rows, lambda x, kind: weighted(exact.divergences(x, reference, kind, **transform), DIVERGENCES))


def held_to(
    gradient: torch.Tensor, rows: torch.Tensor, total: Callable[[torch.Tensor, torch.dtype], torch.Tensor]
) -> None:
    """Require the error of float32 autograd, plus 1e-5, plus the rounding of the logits' type.

    Truth is autograd in float64.
    """
    found = {}
    for kind in (torch.float64, torch.float32):
        x = leaf(rows.to(kind))
        (found[kind],) = torch.autograd.grad(total(x, kind), x)
    truth = found[torch.float64]
    assert gradient.dtype == rows.dtype
    allowed = (
        (found[torch.float32] - truth).abs().nan_to_num(posinf=0.0) + 1e-5 + torch.finfo(rows.dtype).eps * truth.abs()
    )
    assert ((gradient - truth).abs() <= allowed).all()


def test_masked_rows_have_finite_gradients() -> None:
    logits = random(4, 9, dtype=torch.float32).detach()
    logits[:, 2:5] = -math.inf
    logits[3, :8] = -math.inf
    reference = torch.where(logits > -math.inf, 0.5, -math.inf)
    logits.requires_grad_()
    found = token_stats(logits, torch.tensor([0, 8, 1, 8]))
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), STATISTICS), logits)
    assert gradient.isfinite().all()
    assert (gradient[:, 2:5] == 0).all()
    pair = token_divergence(logits, reference, divergences=DIVERGENCES)
    (gradient,) = torch.autograd.grad(weighted(pair._asdict(), DIVERGENCES), logits)
    assert gradient.isfinite().all()
    assert (gradient[:, 2:5] == 0).all()


@pytest.mark.parametrize("target", [-100, -1, 9])
def test_a_row_whose_target_does_not_count_has_no_gradient_of_its_logprob(target: int) -> None:
    logits = leaf(random(2, 9, dtype=torch.float32))
    (gradient,) = torch.autograd.grad(present(token_stats(logits, torch.tensor([target, 3])).logprob).sum(), logits)
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_an_ignored_row_has_no_gradient_whatever_is_in_it(value: float) -> None:
    """Padding positions may hold anything. A NaN from there would reach every weight."""
    logits = random(2, 9, dtype=torch.float32).detach()
    logits[0] = value
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(present(token_stats(logits, torch.tensor([-100, 3])).logprob).sum(), logits)
    assert (gradient[0] == 0).all()
    assert gradient[1].isfinite().all()


def test_statistics_without_a_gradient_are_detached() -> None:
    found = token_stats(leaf(random(2, 5)), torch.tensor([0, 1]))
    assert {name for name, values in found._asdict().items() if values.requires_grad} == set(STATISTICS)
    pair = token_divergence(leaf(random(2, 5)), leaf(random(2, 5)), divergences=TokenDivergence._fields)
    assert {name for name, values in pair._asdict().items() if values.requires_grad} == set(DIVERGENCES)


def test_no_gradient_reaches_the_reference_or_the_temperature() -> None:
    logits, reference, temperature = leaf(random(2, 5)), leaf(random(2, 5)), leaf(torch.tensor([2.0]))
    found = token_divergence(logits, reference, temperature=temperature)
    present(found.kl).sum().backward()
    assert logits.grad is not None
    assert reference.grad is None
    assert temperature.grad is None


def test_statistics_may_be_overwritten() -> None:
    """TRL masks results in place. The gradient must not depend on overwritten values."""
    target = torch.tensor([0, 1])
    gradients = []
    for overwrite in (False, True):
        logits = leaf(random(2, 5))
        found = token_stats(logits, target)
        total = weighted({name: getattr(found, name) * 1 for name in STATISTICS}, STATISTICS)
        if overwrite:
            with torch.no_grad():
                for values in found:
                    present(values).fill_(777)
        gradients.append(torch.autograd.grad(total, logits)[0])
    assert torch.equal(*gradients)


def test_masking_a_statistic_in_place_is_refused() -> None:
    """Fields are views of one packed tensor, so autograd raises an error. `masked_fill` works."""
    logits = leaf(random(2, 5))
    entropy = present(token_stats(logits, statistics=["entropy"]).entropy)
    with pytest.raises(RuntimeError, match="modified inplace"):
        entropy.masked_fill_(torch.tensor([True, False]), 0.0)
    masked = entropy.masked_fill(torch.tensor([True, False]), 0.0)
    (gradient,) = torch.autograd.grad(masked.sum(), logits)
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).any()


def test_gradients_are_not_written_over_the_logits() -> None:
    logits = leaf(random(2, 5))
    before = logits.detach().clone()
    present(token_stats(logits, torch.tensor([0, 1])).entropy).sum().backward()
    assert torch.equal(logits.detach(), before)


def test_each_incoming_gradient_may_be_missing() -> None:
    logits, target = leaf(random(3, 7)), torch.tensor([0, 1, 2])
    everything = token_stats(logits, target)
    for name in STATISTICS:
        alone = token_stats(logits, target, statistics=[name])
        expected, found = (
            torch.autograd.grad(getattr(stats, name).sum(), logits, retain_graph=True)[0]
            for stats in (alone, everything)
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("call", ["statistics", "divergences", "head", "two heads"])
def test_a_second_derivative_is_refused(call: str) -> None:
    logits, weight, target = leaf(random(2, 5)), random(6, 5, seed=1).detach(), torch.tensor([0, 1])
    values = {
        "statistics": lambda: token_stats(logits, target).entropy,
        "divergences": lambda: token_divergence(logits, logits.detach() + 1).kl,
        "head": lambda: linear_token_stats(logits, weight, target).entropy,
        "two heads": lambda: linear_token_divergence(logits, weight, logits.detach(), weight).entropy,
    }[call]()

    def twice() -> None:
        (gradient,) = torch.autograd.grad(present(values).sum(), logits, create_graph=True)
        torch.autograd.grad(gradient.sum(), logits)

    with pytest.raises(RuntimeError):
        twice()


def test_a_frozen_weight_costs_no_gradient_work(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = leaf(random(2, 5, dtype=torch.float32)), random(6, 5, seed=1, dtype=torch.float32).detach()
    products: list[torch.Size] = []
    product = head.product

    def counted(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor, add: bool = False) -> None:
        products.append(out.shape)
        product(a, b, out=out, add=add)

    monkeypatch.setattr(head, "product", counted)
    present(linear_token_stats(hidden, weight, torch.tensor([0, 1])).logprob).sum().backward()
    assert products == [(2, 6), (2, 6), (2, 5)]  # the logits, the logits again, the gradient to hidden
    assert weight.grad is None
    products.clear()
    leaf_weight = leaf(weight)
    present(linear_token_stats(hidden.detach(), leaf_weight, torch.tensor([0, 1])).logprob).sum().backward()
    assert products == [(2, 6), (2, 6), (6, 5)]
