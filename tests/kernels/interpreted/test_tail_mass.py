"""Tail mass by the Triton kernel, against float64."""

from __future__ import annotations

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import distributions, layouts
from tests.kernels.interpreted.blocks import use_blocks, use_splits
from tests.kernels.undefined import ROWS, every_row
from tests.present import present

from autophage_kernels import token_stats


def check(logits: torch.Tensor, bound: float) -> None:
    truth, yardstick = (exact.tail_mass(logits, bound, dtype) for dtype in (torch.float64, torch.float32))
    exact.check_close(present(token_stats(logits, tail=bound).tail_mass), truth, yardstick, str(bound))


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str) -> None:
    logits = layouts(267, torch.bfloat16)[layout]
    for bound in (0.01, 1e-4):
        check(logits, bound)


@pytest.mark.parametrize("bound", [0.3, 1.1e-4])
@pytest.mark.parametrize("splits", [1, 3])
def test_split_rows(splits: int, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks(monkeypatch, 64)
    use_splits(monkeypatch, splits)
    check(torch.stack(list(distributions(515, 64).values()))[::2], bound)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_temperature_and_softcap(softcap: float | None) -> None:
    logits = 9 * torch.randn(6, 300, generator=torch.Generator().manual_seed(1))
    heat = torch.linspace(0.5, 2, 6)
    p = exact.transformed(logits, torch.float64, heat, softcap).softmax(-1)
    found = token_stats(logits, temperature=heat, softcap=softcap, tail=0.01).tail_mass
    torch.testing.assert_close(present(found).double(), (p * (p < 0.01)).sum(-1), atol=1e-6, rtol=1e-5)


@every_row
def test_a_row_without_a_distribution_is_nan(name: str) -> None:
    for bound in (0.5, 1e-4):
        assert present(token_stats(ROWS[name][0].unsqueeze(0), tail=bound).tail_mass).isnan().all()


def test_no_rows() -> None:
    assert present(token_stats(torch.empty(0, 9), tail=0.5).tail_mass).shape == (0,)
