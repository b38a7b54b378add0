"""`tail_mass` and `top_k_mass` on a CPU against float64."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts
from tests.kernels.undefined import ROWS, every_row

from autophage_kernels import tail_mass, top_k_mass

BOUNDS = (1.0, 0.1, 1e-3, 1e-6, 1e-30)
SIZES = (1, 2, 20, 100_000)


def check_tail(logits: torch.Tensor, bounds: tuple[float, ...] = BOUNDS) -> None:
    found = tail_mass(logits, bounds)
    assert found.shape == (*logits.shape[:-1], len(bounds))
    p = logits.double().softmax(-1)
    for n, bound in enumerate(bounds):
        # A token at the very bound may fall on either side of it.
        certain, possible = ((p * (p < bound * factor)).sum(-1) for factor in (1 - 1e-4, 1 + 1e-4))
        yardstick = exact.tail_mass(logits, bound, torch.float32)
        over, under = (exact.excess(found[..., n], truth, yardstick) for truth in (possible, certain))
        assert (((found[..., n] <= possible) | (over <= 0)) & ((found[..., n] >= certain) | (under <= 0))).all(), bound


def check_top_k(logits: torch.Tensor) -> None:
    found = top_k_mass(logits, SIZES)
    assert found.shape == (*logits.shape[:-1], len(SIZES))
    for n, k in enumerate(SIZES):
        truth, yardstick = (exact.top_k_mass(logits, k, dtype) for dtype in (torch.float64, torch.float32))
        exact.check_close(found[..., n], truth, yardstick, f"the {k} largest")
    assert (found <= 1).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 2, 1025, 2053, 50257])
@pytest.mark.parametrize("check", [check_tail, check_top_k])
def test_every_row(check, vocabulary: int, dtype: torch.dtype) -> None:
    check(torch.stack(list(distributions(vocabulary).values())).to(dtype))


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
@pytest.mark.parametrize("check", [check_tail, check_top_k])
def test_any_layout(check, layout: str) -> None:
    check(layouts(265, torch.float32)[layout])


@pytest.mark.parametrize("heat", [0.5, torch.tensor(0.5), "one for each row"])
def test_temperature_and_softcap(heat: float | torch.Tensor | str) -> None:
    logits = 9 * torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1))
    heat = torch.linspace(0.5, 2, 6).view(2, 3) if isinstance(heat, str) else heat
    z = exact.transformed(logits, torch.float64, heat, 5.0)
    p = z.softmax(-1)
    torch.testing.assert_close(
        tail_mass(logits, 0.01, temperature=heat, softcap=5.0).double(), (p * (p < 0.01)).sum(-1), atol=1e-6, rtol=1e-6
    )
    torch.testing.assert_close(
        top_k_mass(logits, 7, temperature=heat, softcap=5.0).double(), p.topk(7).values.sum(-1), atol=1e-6, rtol=1e-6
    )


@every_row
def test_rows_without_a_distribution_are_nan(name: str) -> None:
    logits = ROWS[name][0].unsqueeze(0)
    assert tail_mass(logits, 0.5).isnan().all()
    assert top_k_mass(logits, 3).isnan().all()


def test_one_bound_or_size_gives_one_number_a_row() -> None:
    logits = torch.zeros(2, 3, 4)
    assert tail_mass(logits, 0.5).shape == top_k_mass(logits, 1).shape == (2, 3)
    assert tail_mass(logits, [0.5]).shape == top_k_mass(logits, [1]).shape == (2, 3, 1)
    torch.testing.assert_close(tail_mass(logits, 0.5), torch.ones(2, 3))
    torch.testing.assert_close(top_k_mass(logits, 1), torch.full((2, 3), 0.25))


def test_no_rows() -> None:
    assert tail_mass(torch.empty(0, 9), 0.5).shape == (0,)
    assert tail_mass(torch.empty(2, 0, 9), (0.5, 0.1)).shape == (2, 0, 2)
    assert top_k_mass(torch.empty(0, 9), 2).shape == (0,)
    assert top_k_mass(torch.empty(2, 0, 9), (2, 3)).shape == (2, 0, 2)


def test_masked_tokens_have_no_mass() -> None:
    logits = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]])
    torch.testing.assert_close(top_k_mass(logits, (1, 2, 3)), torch.tensor([[0.5, 1.0, 1.0]]))
    torch.testing.assert_close(tail_mass(logits, (0.4, 0.6)), torch.tensor([[0.0, 1.0]]))


def test_no_gradient() -> None:
    logits = torch.randn(2, 5, requires_grad=True)
    assert not tail_mass(logits, 0.5).requires_grad
    assert not top_k_mass(logits, 2).requires_grad
