"""Results of `token_stats` for rows and targets without an answer, on a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from tests.kernels.adversarial import DTYPES
from tests.kernels.undefined import VOCABULARY, base, check_row, check_targets, every_row
from tests.present import present

from autophage_kernels import token_stats


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_row
def test_rows_without_a_distribution(name: str, dtype: torch.dtype) -> None:
    check_row(name, dtype)


def test_ignored_and_outside_targets() -> None:
    target = torch.tensor([-100, -1, VOCABULARY, VOCABULARY + 7, -(2**62), 2**62, 0, VOCABULARY - 1])
    logits = base().expand(len(target), -1)
    check_targets(logits, target, token_stats(logits, target))


def test_another_ignore_index_even_one_that_is_a_token() -> None:
    logits = base().expand(3, -1)
    found = token_stats(logits, torch.tensor([5, 0, -100]), ignore_index=5)
    assert present(found.logprob)[0] == 0
    assert present(found.rank).tolist()[::2] == [-1, -1]
    assert present(found.logprob)[2].isnan()
    assert present(found.logprob)[1] < 0


def test_masked_target() -> None:
    logits = torch.tensor([[1.0, -math.inf, 2.0, -math.inf, -math.inf]])
    found = token_stats(logits, torch.tensor([3]))
    assert found.logprob == -math.inf
    assert found.rank == 3
    assert found.ties == 3
    torch.testing.assert_close(found.mass_above, torch.ones(1))


@pytest.mark.parametrize("value", [-math.inf, math.inf])
def test_the_lse_of_an_infinite_row(value: float) -> None:
    found = token_stats(torch.full((1, 4), value))
    assert found.lse == value
    assert present(found.entropy).isnan()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_row_without_a_temperature(temperature: float) -> None:
    found = token_stats(base().expand(2, -1), torch.tensor([1, 1]), temperature=torch.tensor([1.0, temperature]))
    for name in ("logprob", "lse", "entropy", "varentropy", "max_prob", "mass_above", "renyi2"):
        assert getattr(found, name)[0].isfinite(), name
        assert getattr(found, name)[1].isnan(), name
