"""Gradients by the Triton kernels, against autograd of the definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts, targets_of
from tests.kernels.interpreted.blocks import use_blocks
from tests.present import present

from autophage_kernels import TokenDivergence, token_divergence, token_stats

DIFFERENTIABLE = ("logprob", "lse", "entropy", "varentropy")


def weighted(found: dict[str, torch.Tensor], names: tuple[str, ...]) -> torch.Tensor:
    """A sum in which every row of every statistic has a weight of its own."""
    return sum(  # type: ignore[return-value]  # 0 for no names only
        (found[name] * torch.linspace(0.5, 1.5 + n, found[name].numel()).view_as(found[name]).to(found[name])).sum()
        for n, name in enumerate(names)
    )


def close(found: torch.Tensor, truth: torch.Tensor) -> None:
    """The interpreter truncates float32 to bfloat16 and does not round. The error is one unit in the last place."""
    tolerance = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2**-7}[found.dtype]
    torch.testing.assert_close(found.double(), truth, atol=2e-5, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("temperature", "softcap"), [(None, None), (0.7, 20.0), ("one for each row", None)])
def test_statistics(temperature: float | str | None, softcap: float | None, dtype: torch.dtype) -> None:
    rows = [row for row in distributions(267, 64).values() if row.isfinite().all()]
    logits = torch.stack(rows).to(dtype).requires_grad_()
    target = logits.float().argmax(1).roll(1)
    heat = torch.linspace(0.5, 2, len(rows)) if isinstance(temperature, str) else temperature
    found = token_stats(logits, target, statistics=DIFFERENTIABLE, temperature=heat, softcap=softcap)
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), DIFFERENTIABLE), logits)
    exact_logits = logits.detach().double().requires_grad_()
    truth = exact.statistics(exact_logits, target, torch.float64, heat, softcap)
    (expected,) = torch.autograd.grad(weighted(truth, DIFFERENTIABLE), exact_logits)
    close(gradient, expected)


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_statistics_of_any_layout(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks(monkeypatch, 128)
    logits = layouts(267, torch.float32)[layout].detach().requires_grad_()
    target = targets_of(logits)
    found = token_stats(logits, target)
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), DIFFERENTIABLE), logits)
    exact_logits = logits.detach().double().requires_grad_()
    truth = exact.statistics(exact_logits, target, torch.float64)
    (expected,) = torch.autograd.grad(weighted(truth, DIFFERENTIABLE), exact_logits)
    close(gradient, expected)


@pytest.mark.parametrize("softcap", [None, 20.0])
def test_divergences(softcap: float | None) -> None:
    rows = torch.stack(
        [row for row in distributions(267, 64).values() if row.isfinite().all() and row.abs().max() < 1e3]
    )
    logits, reference = rows.clone().requires_grad_(), rows.roll(1, 0)
    names = tuple(name for name in TokenDivergence._fields if name != "reference_entropy")
    found = token_divergence(logits, reference, divergences=names, softcap=softcap, temperature=1.5)
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), names), logits)
    exact_logits = rows.double().requires_grad_()
    truth = exact.divergences(exact_logits, reference, torch.float64, 1.5, softcap)
    (expected,) = torch.autograd.grad(weighted(truth, names), exact_logits)
    close(gradient, expected)


def test_masked_tokens_get_none_and_ignored_rows_nothing() -> None:
    logits = torch.randn(3, 267)
    logits[:, 100:180] = -math.inf
    logits.requires_grad_()
    found = token_stats(logits, torch.tensor([5, -100, -100]))
    total = present(found.logprob).sum() + present(found.entropy)[:2].sum() + present(found.varentropy)[:2].sum()
    (gradient,) = torch.autograd.grad(total, logits)
    assert gradient.isfinite().all()
    assert (gradient[:, 100:180] == 0).all()
    assert (gradient[2] == 0).all()
    assert (gradient[1] != 0).any()


def test_masked_divergences_are_finite() -> None:
    logits, reference = torch.randn(2, 267), torch.randn(2, 267)
    logits[:, :90] = reference[:, :70] = -math.inf
    logits.requires_grad_()
    found = token_divergence(logits, reference, divergences=("kl", "jsd", "entropy", "cross_entropy"))
    (gradient,) = torch.autograd.grad(weighted(found._asdict(), ("kl", "jsd", "entropy", "cross_entropy")), logits)
    assert gradient.isfinite().all()
    assert (gradient[:, :90] == 0).all()
