"""Rows without a distribution, targets without a log-prob, and their documented results of `token_stats`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.kernels import exact

from autophage_kernels import TokenStats, token_stats

NAN = math.nan
FLOATS = ("logprob", "entropy", "varentropy", "max_prob", "mass_above", "renyi2")
VOCABULARY = 300


def base() -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5))


def with_one(value: float, column: int) -> torch.Tensor:
    row = base()
    row[column] = value
    return row


ROWS: dict[str, tuple[torch.Tensor, dict[str, float]]] = {
    "all -inf": (torch.full((VOCABULARY,), -math.inf), {"lse": -math.inf, "rank": 1, "argmax": 0}),
    "+inf first": (with_one(math.inf, 0), {"lse": math.inf, "rank": 2, "ties": 1, "argmax": 0}),
    "+inf last": (
        with_one(math.inf, VOCABULARY - 1),
        {"lse": math.inf, "rank": 2, "ties": 1, "argmax": VOCABULARY - 1},
    ),
    "all +inf": (
        torch.full((VOCABULARY,), math.inf),
        {"lse": math.inf, "rank": 1, "ties": VOCABULARY, "argmax": 0},
    ),
    "NaN first": (with_one(NAN, 0), {"lse": NAN, "rank": -1, "ties": -1, "argmax": -1}),
    "NaN last": (with_one(NAN, VOCABULARY - 1), {"lse": NAN, "rank": -1, "ties": -1, "argmax": -1}),
    "NaN among -inf": (
        torch.where(torch.arange(VOCABULARY) == 7, NAN, -math.inf),
        {"lse": NAN, "rank": -1, "ties": -1, "argmax": -1},
    ),
    "all NaN": (torch.full((VOCABULARY,), NAN), {"lse": NAN, "rank": -1, "ties": -1, "argmax": -1}),
}
"""Each row with its results that are not NaN. The target is the largest finite logit, or the first column."""


def target_of(row: torch.Tensor) -> int:
    return int(row.nan_to_num(nan=-math.inf, posinf=-math.inf).argmax())


def check_row(name: str, dtype: torch.dtype) -> None:
    row, expected = ROWS[name]
    # Between two sound rows, which must not notice.
    logits = torch.stack([base(), row, base()]).to(dtype)
    target = torch.tensor([3, target_of(row), 3])
    found = token_stats(logits, target)
    for field in FLOATS:
        assert getattr(found, field)[1].isnan(), field
    for field, value in expected.items():
        assert equal(getattr(found, field)[1].item(), value), f"{field} is {getattr(found, field)[1].item()}"
    exact.check(exact.picked(found, slice(None, None, 2)), exact.statistics, logits[::2], target[::2])


def check_targets(logits: torch.Tensor, target: torch.Tensor, found: TokenStats) -> None:
    """Ignored (-100), outside and inside targets in one batch."""
    vocabulary = logits.shape[1]
    for row, token in enumerate(target.tolist()):
        if token == -100:
            expected: dict[str, Any] = {"logprob": 0.0, "mass_above": 0.0, "rank": -1, "ties": -1}
        elif 0 <= token < vocabulary:
            continue
        else:
            expected = {"logprob": NAN, "mass_above": NAN, "rank": -1, "ties": -1}
        for field, value in expected.items():
            assert equal(getattr(found, field)[row].item(), value), (token, field)
    for field in ("entropy", "varentropy", "max_prob", "argmax", "lse", "renyi2"):
        assert getattr(found, field).isfinite().all(), field


def equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


every_row = pytest.mark.parametrize("name", list(ROWS))
