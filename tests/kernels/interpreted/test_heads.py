"""Fused heads on top of the Triton kernels."""

from __future__ import annotations

import pytest
import torch
from tests.kernels import exact
from tests.kernels.interpreted.blocks import use_blocks

from autophage_kernels import head, linear_token_divergence, linear_token_stats, token_divergence, token_stats
from autophage_kernels.statistics import FLOATS, INTEGERS, NAMES, Statistic
from autophage_kernels.triton_kernels import launch_stats


@pytest.fixture(params=["whole rows", "tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU, and in tiles of columns as on a GPU."""
    use_blocks(monkeypatch, 64)
    if request.param == "tiles":
        monkeypatch.setattr(head, "whole_rows", lambda _: False)
        monkeypatch.setattr(head, "GPU_TILE", (2, 100))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_statistics(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(5, 16), torch.randn(267, 16), torch.randn(267)
    inputs = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight, bias)]
    target = torch.tensor([0, 266, -100, 99, 132])
    found = linear_token_stats(inputs[0], inputs[1], target, inputs[2])
    logits = inputs[0].double() @ inputs[1].double().T + inputs[2].double()
    expected = token_stats(logits, target)
    total = sum(getattr(found, name).sum() for name in ("logprob", "lse", "entropy", "varentropy"))
    truth = sum(getattr(expected, name).sum() for name in ("logprob", "lse", "entropy", "varentropy"))
    for name in NAMES:
        values = getattr(found, name)
        torch.testing.assert_close(values.double(), getattr(expected, name).double(), atol=1e-5, rtol=1e-5, msg=name)
    for gradient, wanted in zip(torch.autograd.grad(total, inputs), torch.autograd.grad(truth, inputs), strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(gradient, wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("tiles")
def test_divergences() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 16, requires_grad=True), torch.randn(267, 16, requires_grad=True)
    other, other_weight = torch.randn(5, 8), torch.randn(267, 8)
    names = ("kl", "reverse_kl", "cross_entropy", "entropy", "reference_entropy", "jsd")
    found = linear_token_divergence(hidden, weight, other, other_weight, divergences=names)
    logits, reference = hidden.double() @ weight.double().T, other.double() @ other_weight.double().T
    expected = token_divergence(logits, reference, divergences=names)
    exact.check(found, lambda *_: expected._asdict())
    total, truth = (sum(getattr(each, name).sum() for name in names) for each in (found, expected))
    for gradient, wanted in zip(
        torch.autograd.grad(total, (hidden, weight)), torch.autograd.grad(truth, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("width", [10, 64, 130, 200])
def test_splits_that_few_columns_cannot_fill_stay_empty(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 267 - width and of width columns merge to the whole row. Both have four splits."""
    use_blocks(monkeypatch, 64)
    logits, target = 4 * torch.randn(3, 267, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 266, 200])
    target_logit = logits.gather(1, target[:, None]).flatten()
    bits = Statistic(1) and sum(FLOATS) + sum(INTEGERS)
    parts = []
    for start, stop in ((267 - width, 267), (0, 267 - width)):
        part = torch.full((10, 4, 3), 7e7)
        columns = logits[:, start:stop].unsqueeze(0)
        launch_stats.partial_stats(columns, target, target_logit, None, 0.0, start, bits, False, part)
        parts.append(part)
    merged = launch_stats.merge_stats(torch.cat(parts, 1), target, None, 0.0, -100, 267, bits)
    whole = exact.statistics(logits, target, torch.float64)
    for row, statistic in enumerate(FLOATS):
        torch.testing.assert_close(merged[0][row].double(), whole[statistic.name.lower()], atol=1e-5, rtol=1e-5)
    for row, statistic in enumerate(INTEGERS):
        assert torch.equal(merged[1][row], whole[statistic.name.lower()]), statistic
