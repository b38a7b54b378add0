"""`token_stats` on a CPU against float64: every statistic, type, shape and layout, and undefined rows."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts, stacked, targets_of
from tests.present import present

from autophage_kernels import token_stats
from autophage_kernels.statistics import NAMES

VOCABULARIES = (1, 2, 1023, 1024, 1025, 2053, 32000, 50257, 128256)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_statistic_of_every_row(vocabulary: int, dtype: torch.dtype) -> None:
    logits, target = stacked(vocabulary, dtype, targets=5 if vocabulary < 5000 else 1)
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("temperature", "softcap"),
    [(0.7, None), (None, 30.0), (2.5, 5.0), ("one for each row", 30.0), ("one for all", None)],
)
def test_temperature_and_softcap(temperature: float | str | None, softcap: float | None, dtype: torch.dtype) -> None:
    logits, target = stacked(1025, dtype)
    heats = {"one for each row": torch.linspace(0.3, 3, len(logits)), "one for all": torch.tensor([0.3])}
    heat = heats[temperature] if isinstance(temperature, str) else temperature
    if softcap is not None:  # with a softcap no logit is infinite: masked rows have their own test
        keep = logits.isfinite().all(1)
        logits, target = logits[keep], target[keep]
        heat = heat[keep] if isinstance(heat, torch.Tensor) and len(heat) > 1 else heat
    found = token_stats(logits, target, temperature=heat, softcap=softcap)
    exact.check(found, exact.statistics, logits, target, temperature=heat, softcap=softcap)


@pytest.mark.parametrize("rows", [0, 1, 3, 65])
@pytest.mark.parametrize("vocabulary", [1, 2, 265, 2053])
def test_any_number_of_rows(rows: int, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    logits = 5 * torch.randn(rows, vocabulary, generator=generator)
    target = torch.randint(vocabulary, (rows,), generator=generator)
    found = token_stats(logits, target)
    assert all(getattr(found, name).shape == (rows,) for name in NAMES)
    exact.check(found, exact.statistics, logits, target)


@pytest.mark.parametrize("vocabulary", [37, 1024])
@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str, vocabulary: int) -> None:
    logits = layouts(vocabulary, torch.bfloat16)[layout]
    target = targets_of(logits)
    before = logits.clone()
    found = token_stats(logits, target)
    assert all(getattr(found, name).shape == logits.shape[:-1] for name in NAMES)
    exact.check(found, exact.statistics, logits, target)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("name", NAMES)
def test_each_statistic_alone_is_what_it_is_in_company(name: str) -> None:
    logits, target = stacked(265, torch.float32)
    alone, together = token_stats(logits, target, statistics=[name]), token_stats(logits, target)
    assert [field for field, values in alone._asdict().items() if values is not None] == [name]
    assert exact.same(alone, together, [name])


def test_without_a_target_what_asks_for_none() -> None:
    found = token_stats(torch.randn(2, 9))
    missing = {name for name, values in found._asdict().items() if values is None}
    assert missing == {"logprob", "rank", "ties", "mass_above"}


def test_the_type_of_results() -> None:
    for dtype in (*DTYPES, torch.float64):
        found = token_stats(torch.zeros(2, 3, dtype=dtype), torch.zeros(2, dtype=torch.int32))
        expected = torch.float64 if dtype == torch.float64 else torch.float32
        for name, values in found._asdict().items():
            assert values.dtype == (torch.int64 if name in exact.INTEGERS else expected)


def test_float64_logits_are_worked_on_in_float64() -> None:
    logits, target = 3 * torch.randn(4, 300, dtype=torch.float64), torch.arange(4)
    truth = exact.statistics(logits, target, torch.float64)
    found = token_stats(logits, target)
    for name in NAMES:
        values = getattr(found, name)
        torch.testing.assert_close(values, truth[name].to(values.dtype), atol=1e-12, rtol=1e-12, msg=name)


def test_equal_logits_have_exactly_no_variance() -> None:
    for vocabulary in (2, 1000, 1025, 50257):
        found = token_stats(torch.full((1, vocabulary), -3.25), torch.tensor([1]))
        assert found.varentropy == 0
        assert found.ties == vocabulary
        torch.testing.assert_close(present(found.entropy).item(), math.log(vocabulary), atol=1e-6, rtol=1e-6)


def test_target_in_the_last_partial_block_and_in_another_integer_type() -> None:
    logits = distributions(2053)["random"].expand(5, -1)
    target = torch.tensor([2048, 2049, 2050, 2051, 2052])
    for kind in (torch.int32, torch.int16):
        exact.check(token_stats(logits, target.to(kind)), exact.statistics, logits, target)


@pytest.mark.parametrize("kind", ["strided", "expanded", "a column"])
def test_targets_of_any_layout(kind: str) -> None:
    logits = 3 * torch.randn(4, 37)
    target = {
        "strided": torch.arange(8)[::2],
        "expanded": torch.tensor(5).expand(4),
        "a column": torch.arange(12).view(4, 3)[:, 1],
    }[kind]
    exact.check(token_stats(logits, target), exact.statistics, logits, target)
