"""Documents out of a collated batch, and how many of them are computed at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autophage.errors import RunError
from autophage.trainer.portions import (
    IGNORED,
    WEIGHTS,
    Example,
    Portion,
    examples,
    portions,
    trained_tokens,
    with_weights,
)

PADDED = {
    "input_ids": torch.tensor([[1, 5, 6, 0], [1, 7, 8, 9]]),
    "labels": torch.tensor([[IGNORED, 5, 6, IGNORED], [IGNORED, IGNORED, 8, 9]]),
    "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
}
FLAT = {
    "input_ids": torch.tensor([[1, 5, 6, 1, 7, 8, 9]]),
    "labels": torch.tensor([[IGNORED, 5, 6, IGNORED, IGNORED, 8, 9]]),
    "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2, 3]]),
}
DOCUMENTS = [
    {"input_ids": [1, 5, 6], "labels": [IGNORED, 5, 6]},
    {"input_ids": [1, 7, 8, 9], "labels": [IGNORED, IGNORED, 8, 9]},
]


@pytest.mark.parametrize("inputs", [PADDED, FLAT], ids=["padded", "flat"])
def test_documents_come_back_out_of_a_batch(inputs: dict[str, torch.Tensor]) -> None:
    assert examples(inputs) == DOCUMENTS
    assert int(trained_tokens(inputs)) == 4


def collate_padded(documents: list[Example]) -> dict[str, torch.Tensor]:
    assert all(set(document) == {"input_ids", "labels"} for document in documents)
    return dict(PADDED)


def collate_flat(documents: list[Example]) -> dict[str, torch.Tensor]:
    return dict(FLAT)


@pytest.mark.parametrize("collate", [collate_padded, collate_flat])
def test_weights_go_with_their_documents(collate: Callable[[list[Example]], dict[str, torch.Tensor]]) -> None:
    weighted = [{**document, WEIGHTS: weight} for document, weight in zip(DOCUMENTS, (2.0, 0.5), strict=True)]
    batch = with_weights(collate)(weighted)
    assert batch[WEIGHTS].shape == batch["labels"].shape
    assert examples(batch) == weighted
    assert float(trained_tokens(batch)) == 2 * 2.0 + 2 * 0.5
    alike = with_weights(collate)([{**document, WEIGHTS: 1.0} for document in DOCUMENTS])
    assert WEIGHTS not in alike


def test_portions_keep_the_order_and_lose_nothing() -> None:
    assert [list(part) for part in portions(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_halving_goes_down_to_one_and_says_so() -> None:
    portion = Portion()
    assert portion.of(7) == 7
    found = []
    for _ in range(2):
        portion.halve(7)
        found.append(portion.of(7))
    assert found == [3, 1]
    assert "computed 1 at a time" in portion.note
    assert portion.of(100) == 1
    with pytest.raises(RunError, match="with one document at a time"):
        portion.halve(7)
