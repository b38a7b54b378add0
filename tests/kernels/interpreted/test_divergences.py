"""`token_divergence` by the Triton kernels, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts
from tests.kernels.interpreted.blocks import use_blocks, use_splits
from tests.kernels.pairs import check_undefined
from tests.present import present

from autophage_kernels import TokenDivergence, token_divergence

ALL = TokenDivergence._fields


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("vocabulary", "splits"), [(1, 1), (267, 1), (267, 3), (512, 2)])
def test_every_row_with_others(
    vocabulary: int, splits: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_blocks(monkeypatch, 128)
    use_splits(monkeypatch, splits)
    rows = torch.stack(list(distributions(vocabulary, 128).values())).to(dtype)
    for turn in (1, 6) if dtype == torch.float32 and splits > 1 else (5,):
        p, q = rows, rows.roll(turn, 0)
        exact.check(token_divergence(p, q, divergences=ALL), exact.divergences, p, q)


def test_equal_logits_are_exactly_0_apart() -> None:
    p = torch.stack(list(distributions(600, 256).values()))
    found = token_divergence(p, p.clone(), divergences=("kl", "reverse_kl"))
    assert (present(found.kl) == 0).all()
    assert (present(found.reverse_kl) == 0).all()


def test_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leading blocks and whole splits that one or both distributions give nothing to."""
    use_blocks(monkeypatch, 64)
    noise = torch.randn(4, 320, generator=torch.Generator().manual_seed(0))
    p, q = noise.clone(), noise.flip(1).clone()
    p[0, :200] = q[0, :200] = -math.inf
    p[1, :130] = -math.inf
    q[2, :130] = -math.inf
    p[3, 200:] = -math.inf
    q[3, :] = torch.where(p[3] == -math.inf, -math.inf, q[3])
    for splits in (1, 2):
        use_splits(monkeypatch, splits)
        found = token_divergence(p, q, divergences=ALL)
        exact.check(found, exact.divergences, p, q)
        assert present(found.kl).isinf().tolist() == [False, False, True, False]
        assert present(found.reverse_kl).isinf().tolist() == [False, True, False, False]


def test_rows_without_a_distribution_are_nan() -> None:
    check_undefined()


@pytest.mark.parametrize(("temperature", "softcap"), [(0.7, None), ("one for each row", 5.0)])
def test_temperature_and_softcap(
    temperature: float | str, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_splits(monkeypatch, 2)
    p = torch.stack([row for row in distributions(521, 256).values() if row.isfinite().all()])
    q = p.roll(1, 0)
    heat = torch.linspace(0.5, 3, len(p)) if isinstance(temperature, str) else temperature
    found = token_divergence(p, q, divergences=ALL, temperature=heat, softcap=softcap)
    exact.check(found, exact.divergences, p, q, temperature=heat, softcap=softcap)


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str) -> None:
    p = layouts(267, torch.bfloat16)[layout]
    q = p.flip(-1).contiguous()
    exact.check(token_divergence(p, q, divergences=ALL), exact.divergences, p, q)


@pytest.mark.parametrize("name", ALL)
def test_each_divergence_alone(name: str) -> None:
    rows = torch.stack(list(distributions(265, 64).values()))[::3]
    p, q = rows, rows.roll(1, 0)
    exact.check(token_divergence(p, q, divergences=[name]), exact.divergences, p, q)


def test_no_rows() -> None:
    assert all(
        present(values).shape == (0,)
        for values in token_divergence(torch.empty(0, 9), torch.empty(0, 9), divergences=ALL)
    )
