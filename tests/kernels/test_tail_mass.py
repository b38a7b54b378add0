"""`token_stats(..., tail=...)` on a CPU against float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts
from tests.kernels.undefined import ROWS, every_row
from tests.present import present

from autophage_kernels import token_stats

BOUNDS = (1.0, 0.1, 1e-3, 1e-6, 1e-30)


def tail_mass(logits: torch.Tensor, bound: float, **transform: Any) -> torch.Tensor:
    return present(token_stats(logits, statistics=["lse"], tail=bound, **transform).tail_mass)


def check(logits: torch.Tensor, bound: float) -> None:
    found = tail_mass(logits, bound)
    assert found.shape == logits.shape[:-1]
    p = logits.double().softmax(-1)
    # A token at the very bound may fall on either side of it.
    certain, possible = ((p * (p < bound * factor)).sum(-1) for factor in (1 - 1e-4, 1 + 1e-4))
    yardstick = exact.tail_mass(logits, bound, torch.float32)
    over, under = (exact.excess(found, truth, yardstick) for truth in (possible, certain))
    assert (((found <= possible) | (over <= 0)) & ((found >= certain) | (under <= 0))).all()


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 2, 1025, 2053, 50257])
def test_every_row(vocabulary: int, dtype: torch.dtype, bound: float) -> None:
    check(torch.stack(list(distributions(vocabulary).values())).to(dtype), bound)


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str) -> None:
    check(layouts(265, torch.float32)[layout], 1e-3)


@pytest.mark.parametrize("heat", [0.5, torch.tensor(0.5), "one for each row"])
def test_temperature_and_softcap(heat: float | torch.Tensor | str) -> None:
    logits = 9 * torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1))
    heat = torch.linspace(0.5, 2, 6).view(2, 3) if isinstance(heat, str) else heat
    p = exact.transformed(logits, torch.float64, heat, 5.0).softmax(-1)
    found = tail_mass(logits, 0.01, temperature=heat, softcap=5.0)
    torch.testing.assert_close(found.double(), (p * (p < 0.01)).sum(-1), atol=1e-6, rtol=1e-6)


@every_row
def test_a_row_without_a_distribution_is_nan(name: str) -> None:
    assert tail_mass(ROWS[name][0].unsqueeze(0), 0.5).isnan().all()


def test_beside_the_other_statistics() -> None:
    logits, target = torch.randn(3, 50), torch.tensor([0, -100, 49])
    alone, beside = token_stats(logits, target), token_stats(logits, target, tail=0.02)
    assert alone.tail_mass is None
    assert beside.tail_mass is not None
    assert exact.same(alone, beside._replace(tail_mass=None))


def test_no_rows() -> None:
    assert tail_mass(torch.empty(0, 9), 0.5).shape == (0,)
    assert tail_mass(torch.empty(2, 0, 9), 0.5).shape == (2, 0)


@pytest.mark.parametrize(("bound", "mass"), [(0.4, 0.0), (0.6, 1.0)])
def test_masked_tokens_have_no_mass(bound: float, mass: float) -> None:
    torch.testing.assert_close(tail_mass(torch.tensor([[0.0, -math.inf, 0.0, -math.inf]]), bound), torch.tensor([mass]))


def test_a_batch_invariant_row_has_the_same_bits_anywhere() -> None:
    logits = 4 * torch.randn(17, 5000, generator=torch.Generator().manual_seed(1))
    together = tail_mass(logits, 1e-4, batch_invariant=True)
    for rows in (slice(0, 1), slice(16, 17), slice(3, 11)):
        assert torch.equal(tail_mass(logits[rows], 1e-4, batch_invariant=True), together[rows])


def test_no_gradient() -> None:
    found = token_stats(torch.randn(2, 5, requires_grad=True), tail=0.5)
    assert present(found.entropy).requires_grad
    assert not present(found.tail_mass).requires_grad
