"""`token_stats` of the Triton kernels against float64, with the cases of `test_token_stats.py` on shorter rows."""

from __future__ import annotations

import pytest
import torch
from tests.kernels import exact
from tests.kernels.adversarial import DTYPES, distributions, layouts, stacked, targets_of
from tests.kernels.interpreted.blocks import use_blocks, use_splits
from tests.kernels.undefined import VOCABULARY, base, check_row, check_targets, every_row

from autophage_kernels import token_stats
from autophage_kernels.statistics import NAMES


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("vocabulary", "block"), [(1, 64), (2, 64), (255, 64), (256, 256), (265, 64), (1025, 512)])
def test_every_statistic_of_every_row(
    vocabulary: int, block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_blocks(monkeypatch, block)
    logits, target = stacked(vocabulary, dtype, targets=2 if dtype == torch.bfloat16 else 1, block=block)
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


@pytest.mark.parametrize("splits", [1, 2, 3, 7])
@pytest.mark.parametrize("vocabulary", [130, 512, 515])
def test_split_rows(vocabulary: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks(monkeypatch, 64)
    use_splits(monkeypatch, splits)
    logits, target = stacked(vocabulary, torch.float32, targets=1, block=64)
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


def test_one_long_row() -> None:
    logits, target = stacked(5003, torch.bfloat16, targets=1)
    logits, target = logits[[0, 13, 15]], target[[0, 13, 15]]
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


@pytest.mark.parametrize(
    ("temperature", "softcap"),
    [(0.7, None), (None, 30.0), (2.5, 5.0), ("one for each row", 30.0), ("one for all", None)],
)
def test_temperature_and_softcap(
    temperature: float | str | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_splits(monkeypatch, 2)
    logits = torch.stack([row for row in distributions(521, 256).values() if row.isfinite().all()])
    target = logits.argmin(1)
    heats = {"one for each row": torch.linspace(0.3, 3, len(logits)), "one for all": torch.tensor([0.3])}
    heat = heats[temperature] if isinstance(temperature, str) else temperature
    found = token_stats(logits, target, temperature=heat, softcap=softcap)
    exact.check(found, exact.statistics, logits, target, temperature=heat, softcap=softcap)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
def test_any_layout(layout: str, splits: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """267 columns in blocks of 64. Packed rows begin at any of 16 columns, which are peeled off."""
    use_blocks(monkeypatch, 64)
    use_splits(monkeypatch, splits)
    logits = layouts(267, dtype)[layout]
    target = targets_of(logits)
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


def test_every_place_of_the_peak_in_rows_that_begin_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks(monkeypatch, 64)
    vocabulary = 147
    places = [0, 1, 14, 15, 16, 17, 63, 64, 79, 80, 127, 128, 144, 145, 146]
    logits = torch.randn(len(places), vocabulary)
    target = torch.tensor(places)
    logits[torch.arange(len(places)), target] = 9.0
    logits[torch.arange(len(places)), target.roll(1)] = 9.0  # its equal elsewhere: the lower column is the argmax
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


@pytest.mark.parametrize("name", NAMES)
def test_each_statistic_alone_is_what_it_is_in_company(name: str) -> None:
    logits, target = stacked(265, torch.float32, targets=1)
    alone, together = token_stats(logits, target, statistics=[name]), token_stats(logits, target)
    assert [field for field, values in alone._asdict().items() if values is not None] == [name]
    exact.check(alone, exact.statistics, logits, target)
    # The same sums, but not the same machine code.
    torch.testing.assert_close(getattr(alone, name), getattr(together, name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@every_row
def test_rows_without_a_distribution(name: str, dtype: torch.dtype) -> None:
    check_row(name, dtype)


def test_ignored_and_outside_targets() -> None:
    target = torch.tensor([-100, -1, VOCABULARY, VOCABULARY + 7, -(2**62), 2**62, 0, VOCABULARY - 1])
    logits = base().expand(len(target), -1)
    check_targets(logits, target, token_stats(logits, target))


@pytest.mark.parametrize("temperature", [0.0, -1.0, torch.nan])
def test_a_row_without_a_temperature(temperature: float) -> None:
    found = token_stats(base().expand(2, -1), torch.tensor([1, 1]), temperature=torch.tensor([1.0, temperature]))
    for name in ("logprob", "lse", "entropy", "varentropy", "max_prob", "mass_above", "renyi2"):
        assert getattr(found, name)[0].isfinite(), name
        assert getattr(found, name)[1].isnan(), name


@pytest.mark.parametrize("kind", ["strided", "expanded", "a column"])
def test_targets_of_any_layout(kind: str) -> None:
    logits = 3 * torch.randn(4, 37)
    target = {
        "strided": torch.arange(8)[::2],
        "expanded": torch.tensor(5).expand(4),
        "a column": torch.arange(12).view(4, 3)[:, 1],
    }[kind]
    exact.check(token_stats(logits, target), exact.statistics, logits, target)


def test_masked_rows_with_a_softcap(monkeypatch: pytest.MonkeyPatch) -> None:
    """-inf under a softcap means the same in every block and split. Here whole blocks are -inf."""
    use_blocks(monkeypatch, 64)
    logits = torch.randn(1, 256)
    logits[:, :130] = -torch.inf
    expected = token_stats(logits.double(), torch.tensor([200]), softcap=5.0)
    for splits in (1, 2):
        use_splits(monkeypatch, splits)
        found = token_stats(logits, torch.tensor([200]), softcap=5.0)
        for name, values in expected._asdict().items():
            torch.testing.assert_close(getattr(found, name).double(), values.double(), atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("vocabulary", [1, 267])
def test_no_rows(vocabulary: int) -> None:
    found = token_stats(torch.empty(0, vocabulary), torch.empty(0, dtype=torch.long))
    assert all(getattr(found, name).shape == (0,) for name in NAMES)


def test_a_row_alone_and_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks(monkeypatch, 64)
    logits, target = stacked(267, torch.bfloat16, targets=1)
    together = token_stats(logits, target, batch_invariant=True)
    for row in (0, 1, 8, len(logits) - 1):
        alone = token_stats(logits[row : row + 1], target[row : row + 1], batch_invariant=True)
        assert exact.same(alone, exact.picked(together, slice(row, row + 1)))
