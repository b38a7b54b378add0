"""Micro-batches: parts of an optimizer step that fit into memory.

A step computes its whole batch at once until memory runs out. It then halves the micro-batch and tries again.
The optimizer step stays the same. The loss of each micro-batch p is divided by the trained tokens of the whole batch:

    dL/dw = sum over p of d/dw (sum of -log p(token) over p's trained tokens) / (trained tokens of the batch)

Both sums weight a token by the weight of its document. Rows keep their order. Only the rounding of the sums changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from autophage.errors import RunError

T = TypeVar("T")
IGNORED = -100
"""Label of a token without loss."""

Example = dict[str, Any]
"""`input_ids` and `labels` of one document as TRL's collator takes them, with its `synthetic` and `weight`."""
OWN = ("labels", "places", "targets", "synthetic", "weights", "tokens", "documents")
"""Keys of a batch that a model does not take."""


@dataclass(frozen=True)
class OnHost:
    """The documents of a batch on the host. Loaders move tensors to the device, and leave this object as it is."""

    rows: Sequence[Example]


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
    """Return a batch of documents: the inputs of a model as TRL's `collator` makes them, and the keys of `OWN`.

    `places` are the flat indices in [B, L] of the positions that predict a trained token. `targets` are these tokens,
    and `synthetic` and `weights` those of their documents, [T] each. Without `weights` each is 1. `tokens` is the
    number of trained tokens, each counted by its weight. All of it is known on the host. A step that selected by
    masks on the device would wait for it.
    """
    inputs = collator(list(rows))
    # The first token of a row has no loss: nothing predicts it.
    labels_BL = inputs.pop("labels")[:, 1:]
    trained_BL = labels_BL != IGNORED
    row_T, column_T = trained_BL.nonzero(as_tuple=True)
    document_T = row_T if "attention_mask" in inputs else _documents(inputs["position_ids"])[row_T, column_T + 1]
    weight_D = torch.tensor([row["weight"] for row in rows])
    inputs |= {
        "places": row_T * inputs["input_ids"].shape[1] + column_T,
        "targets": labels_BL[trained_BL],
        "synthetic": torch.tensor([row["synthetic"] for row in rows])[document_T],
        "tokens": trained_BL.sum(),
        "documents": OnHost(rows),
    }
    if bool((weight_D != 1.0).any()):
        weights_T = weight_D[document_T]
        inputs |= {"weights": weights_T, "tokens": weights_T.sum()}
    return inputs


def _documents(position_ids_BL: torch.Tensor) -> torch.Tensor:
    """Return the index of each token's document in a flattened batch, [B, L]. A document starts at position 0."""
    return (position_ids_BL == 0).cumsum(1) - 1


def micro_batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut `rows` into consecutive parts of `size` rows. The last part may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
