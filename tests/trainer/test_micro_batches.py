"""Documents of a collated batch, and the size of micro-batches."""

from __future__ import annotations

import pytest
import torch

from autophage.errors import RunError
from autophage.trainer.micro_batches import (
    IGNORED,
    MicroBatchSize,
    examples,
    micro_batches,
    of_tokens,
    token_weights,
    trained_tokens,
)

PADDED = {
    "input_ids": torch.tensor([[1, 5, 6, 0], [1, 7, 8, 9]]),
    "labels": torch.tensor([[IGNORED, 5, 6, IGNORED], [IGNORED, IGNORED, 8, 9]]),
    "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
    "synthetic": torch.tensor([True, False]),
    "weight": torch.tensor([1.0, 1.0]),
}
FLAT = {
    "input_ids": torch.tensor([[1, 5, 6, 1, 7, 8, 9]]),
    "labels": torch.tensor([[IGNORED, 5, 6, IGNORED, IGNORED, 8, 9]]),
    "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2, 3]]),
    "synthetic": torch.tensor([True, False]),
    "weight": torch.tensor([1.0, 1.0]),
}
DOCUMENTS = [
    {"input_ids": [1, 5, 6], "labels": [IGNORED, 5, 6], "synthetic": True, "weight": 1.0},
    {"input_ids": [1, 7, 8, 9], "labels": [IGNORED, IGNORED, 8, 9], "synthetic": False, "weight": 1.0},
]


@pytest.mark.parametrize("inputs", [PADDED, FLAT], ids=["padded", "flat"])
def test_documents_come_back_out_of_a_batch(inputs: dict[str, torch.Tensor]) -> None:
    assert examples(inputs) == DOCUMENTS
    assert int(trained_tokens(inputs)) == 4


@pytest.mark.parametrize("inputs", [PADDED, FLAT], ids=["padded", "flat"])
def test_tokens_count_by_their_documents_weight(inputs: dict[str, torch.Tensor]) -> None:
    assert token_weights(inputs) is None
    weighted = {**inputs, "weight": torch.tensor([2.0, 0.5])}
    weights_BL = token_weights(weighted)
    assert weights_BL is not None
    assert weights_BL.shape == inputs["labels"].shape
    assert float(trained_tokens(weighted)) == 2 * 2.0 + 2 * 0.5
    assert [one["weight"] for one in examples(weighted)] == [2.0, 0.5]


def test_each_token_knows_what_its_document_is() -> None:
    labelled = of_tokens(PADDED, "synthetic")[PADDED["labels"] != IGNORED]
    assert labelled.tolist() == [True, True, False, False]
    assert of_tokens(FLAT, "synthetic").tolist() == [[True] * 3 + [False] * 4]


def test_micro_batches_keep_the_order_and_lose_nothing() -> None:
    assert [list(part) for part in micro_batches(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_halving_goes_down_to_one_and_says_so() -> None:
    size = MicroBatchSize()
    assert size.of(7) == 7
    found = []
    for _ in range(2):
        size.halve(7)
        found.append(size.of(7))
    assert found == [3, 1]
    assert "computed 1 at a time" in size.note
    assert size.of(100) == 1
    with pytest.raises(RunError, match="with one document at a time"):
        size.halve(7)
