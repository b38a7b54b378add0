"""`token_divergence` on a CPU against float64: all pairs of adversarial rows, masks and layouts."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts
from tests.kernels.pairs import check_undefined, crossed
from tests.present import present

from autophage_kernels import TokenDivergence, token_divergence

ALL = TokenDivergence._fields


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 2, 1023, 1025, 2053])
def test_every_divergence_of_every_pair(vocabulary: int, dtype: torch.dtype) -> None:
    p, q = crossed(vocabulary, dtype)
    exact.check(token_divergence(p, q, divergences=ALL), exact.divergences, p, q)


@pytest.mark.parametrize("vocabulary", [32000, 50257, 128256])
def test_large_vocabularies(vocabulary: int) -> None:
    rows = torch.stack(list(distributions(vocabulary).values()))
    p, q = rows, rows.roll(1, 0)
    exact.check(token_divergence(p, q, divergences=ALL), exact.divergences, p, q)


@pytest.mark.parametrize(("temperature", "softcap"), [(0.7, None), (None, 30.0), ("one for each row", 5.0)])
def test_temperature_and_softcap(temperature: float | str | None, softcap: float | None) -> None:
    p, q = crossed(265, torch.float32)
    keep = (p.isfinite() & q.isfinite()).all(1)
    p, q = p[keep], q[keep]
    heat = torch.linspace(0.5, 3, len(p)) if isinstance(temperature, str) else temperature
    found = token_divergence(p, q, divergences=ALL, temperature=heat, softcap=softcap)
    exact.check(found, exact.divergences, p, q, temperature=heat, softcap=softcap)


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str) -> None:
    p = layouts(265, torch.float32)[layout]
    q = p.flip(-1).contiguous()  # other strides than p's
    for first, second in ((p, q), (q, p)):
        found = token_divergence(first, second, divergences=ALL)
        assert all(present(values).shape == p.shape[:-1] for values in found)
        exact.check(found, exact.divergences, first, second)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_logits_are_exactly_0_apart(dtype: torch.dtype) -> None:
    p = torch.stack(list(distributions(1025).values())).to(dtype)
    found = token_divergence(p, p.clone(), divergences=ALL)
    for name in ("kl", "reverse_kl", "jsd"):
        assert (getattr(found, name) == 0).all(), name


def test_a_small_divergence_keeps_its_magnitude() -> None:
    p = torch.randn(8, 2053, generator=torch.Generator().manual_seed(0))
    q = p + 1e-3 * torch.randn(8, 2053, generator=torch.Generator().manual_seed(1))
    truth = exact.divergences(p, q, torch.float64)
    found = token_divergence(p, q, divergences=ALL)
    for name in ("kl", "reverse_kl", "jsd"):
        assert ((getattr(found, name) - truth[name]).abs() < 2e-6).all(), name


def test_masks() -> None:
    inf = math.inf
    p = torch.tensor([[0.0, 1.0, -inf, -inf], [0.0, 1.0, 2.0, -inf], [0.0, 1.0, -inf, -inf], [-inf, 0.0, -inf, 0.0]])
    q = torch.tensor([[1.0, 0.0, -inf, -inf], [1.0, 0.0, -inf, -inf], [1.0, 0.0, 2.0, -inf], [0.0, -inf, 0.0, -inf]])
    found = token_divergence(p, q, divergences=ALL)
    exact.check(found, exact.divergences, p, q)
    assert present(found.kl).isinf().tolist() == [False, True, False, True]
    assert present(found.reverse_kl).isinf().tolist() == [False, False, True, True]
    torch.testing.assert_close(present(found.jsd)[3].item(), math.log(2))


def test_rows_without_a_distribution_are_nan() -> None:
    check_undefined()


@pytest.mark.parametrize("name", ALL)
def test_each_divergence_alone_is_what_it_is_in_company(name: str) -> None:
    p, q = crossed(265, torch.float32)
    alone, together = token_divergence(p, q, divergences=[name]), token_divergence(p, q, divergences=ALL)
    assert [field for field, values in alone._asdict().items() if values is not None] == [name]
    assert exact.same(alone, together, [name])


def test_without_names_all_but_the_one_that_takes_a_second_pass() -> None:
    found = token_divergence(torch.randn(2, 9), torch.randn(2, 9))
    assert [name for name, values in found._asdict().items() if values is None] == ["jsd"]


def test_no_rows() -> None:
    found = token_divergence(torch.empty(0, 9), torch.empty(0, 9), divergences=ALL)
    assert all(present(values).shape == (0,) for values in found)
