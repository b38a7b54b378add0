"""How many documents of a batch are computed at once: all of them, until memory runs out; then half as many, and so on.

The optimizer step stays what it was. Each portion's loss is divided by the trained tokens of the whole batch, so that the
portions' gradients add up to the batch's, and rows keep their order: what changes is the order in which sums are rounded.

    dL/dw = sum over portions p of d/dw (sum of -log p(token) over p's trained tokens) / (trained tokens of the batch)

A token counts as much as its document's weight says, in both sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from autophage.errors import RunError

T = TypeVar("T")
IGNORED = -100
"""The label of a token without loss."""

Example = dict[str, Any]
"""`input_ids` and `labels` of one document, as TRL's collator takes them, and what is in `PER_DOCUMENT`."""
PER_DOCUMENT = ("synthetic", "weight")
"""What a batch has one value of for each document; TRL's collator knows nothing of them."""


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


def collate(collator: Callable[[list[Example]], dict[str, Any]], rows: Sequence[Example]) -> dict[str, Any]:
    """The batch that TRL's `collator` makes of `rows`, and with it what it leaves out."""
    return collator(list(rows)) | {name: torch.tensor([row[name] for row in rows]) for name in PER_DOCUMENT}


def of_tokens(inputs: Mapping[str, Any], name: str) -> torch.Tensor:
    """What each document of a batch has under `name`, at each of its tokens: [B, L], padded or flattened as the batch is."""
    values_D: torch.Tensor = inputs[name]
    if "attention_mask" in inputs:
        return values_D.unsqueeze(1).expand(inputs["input_ids"].shape)
    document_BL: torch.Tensor = (inputs["position_ids"] == 0).cumsum(1) - 1
    return values_D[document_BL]


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
    more = [{name: inputs[name][row].item() for name in PER_DOCUMENT} for row in range(len(rows))]
    return [
        {"input_ids": ids.tolist(), "labels": labels.tolist(), **one}
        for (ids, labels), one in zip(rows, more, strict=True)
    ]


def portions(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def token_weights(inputs: Mapping[str, Any]) -> torch.Tensor | None:
    """What each token of a batch counts, [B, L]; None where each counts 1."""
    return None if bool((inputs["weight"] == 1.0).all()) else of_tokens(inputs, "weight")


def trained_tokens(inputs: Mapping[str, Any]) -> torch.Tensor:
    """How many tokens of a batch carry loss, by weight; the first of a row never does, nothing predicts it."""
    trained_BL = inputs["labels"][:, 1:] != IGNORED
    weights_BL = token_weights(inputs)
    return trained_BL.sum() if weights_BL is None else weights_BL[:, 1:][trained_BL].sum()
