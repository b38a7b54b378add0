"""The processed distribution, by hand."""

from __future__ import annotations

import pytest
import torch

from autophage.sampler.truncation import truncated

P = torch.tensor([[0.1, 0.4, 0.05, 0.25, 0.2]])


def kept(
    temperature: float, top_k: float, top_p: float, token: int = 1, logits: torch.Tensor | None = None
) -> list[int]:
    row = P.log() if logits is None else logits
    settings = (torch.tensor([value]) for value in (temperature, top_k, top_p))
    return truncated(row, torch.tensor([token]), *settings)[0].isfinite().nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "expected"),
    [
        (1.0, 0, 1.0, [0, 1, 2, 3, 4]),
        (1.0, 5, 1.0, [0, 1, 2, 3, 4]),
        (1.0, 9, 1.0, [0, 1, 2, 3, 4]),
        (1.0, 2, 1.0, [1, 3]),
        (1.0, 0, 0.39, [1]),
        (1.0, 0, 0.41, [1, 3]),
        (1.0, 0, 0.7, [1, 3, 4]),
        (1.0, 2, 0.61, [1]),  # of what top_k left, the first holds 0.4 / 0.65
        (1.0, 2, 0.62, [1, 3]),
        (0.5, 0, 0.57, [1]),  # squared and normalised: 0.16 / 0.275
        (0.0, 0, 1.0, [1]),
    ],
)
def test_what_stays(temperature: float, top_k: int, top_p: float, expected: list[int]) -> None:
    assert kept(temperature, top_k, top_p) == expected


def test_equals_at_the_edge_stay() -> None:
    ties = torch.tensor([[0.0, 2.0, 2.0, 1.0]])
    assert kept(1.0, 1, 1.0, logits=ties) == [1, 2]
    assert kept(0.0, 0, 1.0, logits=ties) == [1, 2]


def test_the_sampled_token_stays() -> None:
    assert kept(1.0, 1, 0.5, token=2) == [1, 2]


def test_rows_have_settings_of_their_own() -> None:
    rows = P.log().repeat(3, 1)
    token, one = torch.tensor([1, 1, 1]), torch.ones(3)
    found = truncated(rows, token, torch.tensor([1.0, 2.0, 0.0]), torch.tensor([2, 0, 0]), one)
    assert found.isfinite().sum(1).tolist() == [2, 5, 1]
    torch.testing.assert_close(found[1], rows[1] / 2)
