"""How many documents of a batch are computed at once: all of them, until memory runs out; then half as many, and so on.

The optimizer step stays what it was. Each portion's loss is divided by the trained tokens of the whole batch, so that the
portions' gradients add up to the batch's, and rows keep their order: what changes is the order in which sums are rounded.

    dL/dw = sum over portions p of d/dw (sum of -log p(token) over p's trained tokens) / (trained tokens of the batch)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from autophage.errors import RunError

T = TypeVar("T")
IGNORED = -100
"""The label of a token without loss."""

Example = dict[str, list[int]]
"""`input_ids` and `labels` of one document, as TRL's collator takes them."""


@dataclass
class Portion:
    """What a trainer has learnt of its memory; it stays for the fits that follow. `rows` None is a whole batch at once."""

    rows: int | None = None
    note: str = ""
    """What is to be said of it, once; whoever says it takes it away."""

    def of(self, batch: int) -> int:
        """How many of the `batch` documents of a step are computed at once."""
        return batch if self.rows is None else min(batch, self.rows)

    def halve(self, batch: int) -> None:
        """Memory ran out in a step of `batch` documents.

        Raises:
            RunError: it ran out with one document at a time.
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


def examples(inputs: Mapping[str, Any]) -> list[Example]:
    """The documents of a collated batch, padded or flattened, without what the collator added."""
    ids_BL, labels_BL = inputs["input_ids"], inputs["labels"]
    if "attention_mask" in inputs:
        lengths = inputs["attention_mask"].sum(1).tolist()
        rows = [(ids_BL[row, :length], labels_BL[row, :length]) for row, length in enumerate(lengths)]
    else:
        starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
        spans = zip(starts, [*starts[1:], ids_BL.shape[1]], strict=True)
        rows = [(ids_BL[0, low:high], labels_BL[0, low:high]) for low, high in spans]
    return [{"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in rows]


def portions(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def trained_tokens(labels_BL: torch.Tensor) -> torch.Tensor:
    """How many tokens of a batch carry loss; the first of a row never does, nothing predicts it."""
    return (labels_BL[:, 1:] != IGNORED).sum()
