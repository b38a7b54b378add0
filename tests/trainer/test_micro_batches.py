"""Documents of a collated batch, and the size of micro-batches."""

from __future__ import annotations

from typing import Any

import pytest
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from autophage.errors import RunError
from autophage.trainer.micro_batches import IGNORED, MicroBatchSize, collate, micro_batches

DOCUMENTS: list[dict[str, Any]] = [
    {"input_ids": [1, 5, 6], "labels": [IGNORED, 5, 6], "synthetic": True, "weight": 1.0},
    {"input_ids": [1, 7, 8, 9], "labels": [IGNORED, IGNORED, 8, 9], "synthetic": False, "weight": 1.0},
    {"input_ids": [1, 4], "labels": [1, IGNORED], "synthetic": True, "weight": 1.0},
]


def batch(documents: list[dict[str, Any]], *, padding_free: bool) -> dict[str, Any]:
    collator: Any = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=padding_free)
    return collate(collator, documents)


layouts = pytest.mark.parametrize("padding_free", [False, True], ids=["padded", "flat"])


@layouts
def test_the_host_knows_which_positions_are_trained(padding_free: bool) -> None:
    inputs = batch(DOCUMENTS, padding_free=padding_free)
    ids = inputs["input_ids"].flatten().tolist()
    places = inputs["places"].tolist()
    # The predecessor of each target, and the targets of the first and the second document.
    assert [ids[place] for place in places] == [1, 5, 7, 8]
    assert [ids[place + 1] for place in places] == inputs["targets"].tolist() == [5, 6, 8, 9]
    assert inputs["synthetic"].tolist() == [True, True, False, False]
    assert int(inputs["tokens"]) == 4
    assert "weights" not in inputs
    assert list(inputs["documents"].rows) == DOCUMENTS
    assert not {"labels", "weight"} & inputs.keys()


@layouts
def test_tokens_count_by_their_documents_weight(padding_free: bool) -> None:
    weighted = [{**one, "weight": weight} for one, weight in zip(DOCUMENTS, (2.0, 0.5, 7.0), strict=True)]
    inputs = batch(weighted, padding_free=padding_free)
    assert inputs["weights"].tolist() == [2.0, 2.0, 0.5, 0.5]
    assert float(inputs["tokens"]) == 2 * 2.0 + 2 * 0.5


@layouts
def test_a_batch_without_a_trained_token_has_no_places(padding_free: bool) -> None:
    inputs = batch(DOCUMENTS[2:], padding_free=padding_free)
    assert (len(inputs["places"]), len(inputs["targets"]), int(inputs["tokens"])) == (0, 0, 0)


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
