"""Micro-batches: parts of an optimizer step that fit into memory.

A step computes its whole batch at once until memory runs out. It then halves the micro-batch and tries again.
The optimizer step stays the same. The loss of each micro-batch p is divided by the trained tokens of the whole batch:

    dL/dw = sum over p of d/dw (sum of -log p(token) over p's trained tokens) / (trained tokens of the batch)

Both sums weight a token by the weight of its document. Rows keep their order. Only the rounding of the sums changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from autophage.errors import RunError

T = TypeVar("T")
IGNORED = -100
"""Label of a token without loss."""

Example = dict[str, Any]
"""`input_ids` and `labels` of one document as TRL's collator takes them, and the keys of `PER_DOCUMENT`."""
PER_DOCUMENT = ("synthetic", "weight")
"""Keys of a batch with one value per document. TRL's collator does not know them."""


@dataclass
class MicroBatchSize:
    """Number of documents that memory holds in one pass. A trainer keeps the size for its later fits."""

    rows: int | None = None
    """Documents of a micro-batch. None is the whole batch."""
    note: str = ""
    """Pending message for the user; cleared when read."""

    def of(self, batch: int) -> int:
        """Return the number of documents of a micro-batch in a step of `batch` documents."""
        return batch if self.rows is None else min(batch, self.rows)

    def halve(self, batch: int) -> None:
        """Halve the size after a step of `batch` documents ran out of memory.

        Raises:
            RunError: the micro-batch was a single document.
        """
        tried = self.of(batch)
        if tried == 1:
            raise RunError(
                "out of memory in training, with one document at a time. Lower sample.max_tokens, source.block or model.rank, "
                'give the trainer a GPU of its own (devices = "disjoint"), or take a smaller model.'
            )
        self.rows = tried // 2
        self.note = (
            f"out of memory in training: documents are computed {self.rows} at a time from here on; "
            f"an optimizer step still takes {batch}, in the same order"
        )


def collate(collator: Callable[[list[Example]], dict[str, Any]], rows: Sequence[Example]) -> dict[str, Any]:
    """Return the tensors of a batch of documents: those of TRL's `collator`, and one per key of `PER_DOCUMENT`."""
    return collator(list(rows)) | {name: torch.tensor([row[name] for row in rows]) for name in PER_DOCUMENT}


def of_tokens(inputs: Mapping[str, Any], name: str) -> torch.Tensor:
    """Repeat a batch's per-document values under the key `name` at each token.

    The result has the shape [B, L] of the batch, which is padded or flattened.
    """
    values_D: torch.Tensor = inputs[name]
    if "attention_mask" in inputs:
        return values_D.unsqueeze(1).expand(inputs["input_ids"].shape)
    document_BL: torch.Tensor = (inputs["position_ids"] == 0).cumsum(1) - 1
    return values_D[document_BL]


def examples(inputs: Mapping[str, Any]) -> list[Example]:
    """Split a collated batch, padded or flattened, into one example per document. Padding is removed."""
    ids_BL, labels_BL = inputs["input_ids"], inputs["labels"]
    if "attention_mask" in inputs:
        lengths = inputs["attention_mask"].sum(1).tolist()
        rows = [(ids_BL[row, :length], labels_BL[row, :length]) for row, length in enumerate(lengths)]
    else:
        starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
        spans = zip(starts, [*starts[1:], ids_BL.shape[1]], strict=True)
        rows = [(ids_BL[0, low:high], labels_BL[0, low:high]) for low, high in spans]
    more = [{name: inputs[name][row].item() for name in PER_DOCUMENT} for row in range(len(rows))]
    return [
        {"input_ids": ids.tolist(), "labels": labels.tolist(), **one}
        for (ids, labels), one in zip(rows, more, strict=True)
    ]


def micro_batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut `rows` into consecutive parts of `size` rows. The last part may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def token_weights(inputs: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the loss weight of each token of a batch, [B, L]; None if every weight is 1."""
    return None if bool((inputs["weight"] == 1.0).all()) else of_tokens(inputs, "weight")


def trained_tokens(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return the number of tokens with loss in a batch, each counted by its weight, as a scalar tensor.

    The first token of a row has no loss: nothing predicts it.
    """
    trained_BL = inputs["labels"][:, 1:] != IGNORED
    weights_BL = token_weights(inputs)
    return trained_BL.sum() if weights_BL is None else weights_BL[:, 1:][trained_BL].sum()
