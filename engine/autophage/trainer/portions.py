"""How many documents of a batch are computed at once: all of them, until memory runs out; then half as many, and so on.

The optimizer step stays what it was. Each portion's loss is divided by the trained tokens of the whole batch, so that the
portions' gradients add up to the batch's, and rows keep their order: what changes is the order in which sums are rounded.

    dL/dw = sum over portions p of d/dw (sum of -log p(token) over p's trained tokens) / (trained tokens of the batch)

Where documents have weights, both sums are weighted: a document of weight 2 counts as two of it in the batch would.
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
WEIGHTS = "token_weights"
"""Of a batch in which not every document counts alike: what each token counts, in the shape of the labels."""

Example = dict[str, Any]
"""`input_ids` and `labels` of one document, as TRL's collator takes them, and its `WEIGHTS`, one number, where it has one."""


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
        places = [(row, slice(0, length)) for row, length in enumerate(lengths)]
    else:
        starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
        spans = zip(starts, [*starts[1:], ids_BL.shape[1]], strict=True)
        places = [(0, slice(low, high)) for low, high in spans]
    rows: list[Example] = [{"input_ids": ids_BL[one].tolist(), "labels": labels_BL[one].tolist()} for one in places]
    if WEIGHTS in inputs:
        for row, (number, span) in zip(rows, places, strict=True):
            row[WEIGHTS] = float(inputs[WEIGHTS][number, span.start])
    return rows


def with_weights(collate: Callable[[list[Example]], dict[str, Any]]) -> Callable[[list[Example]], dict[str, Any]]:
    """A collator that also says what each token counts, where documents of a batch have other weights than 1."""

    def collated(documents: list[Example]) -> dict[str, Any]:
        weights = [document.get(WEIGHTS, 1.0) for document in documents]
        batch = collate([{name: document[name] for name in ("input_ids", "labels")} for document in documents])
        if any(weight != 1.0 for weight in weights):
            batch[WEIGHTS] = _spread(weights, [len(document["labels"]) for document in documents], batch["labels"])
        return batch

    return collated


def _spread(weights: Sequence[float], lengths: Sequence[int], labels_BL: torch.Tensor) -> torch.Tensor:
    """Each document's weight on each of its tokens [B, L], whether the batch is padded or flattened into one row."""
    weights_BL = torch.ones(labels_BL.shape)
    if len(labels_BL) == len(lengths):
        weights_BL *= torch.tensor(weights)[:, None]
    else:
        weights_BL[0, : sum(lengths)] = torch.tensor(weights).repeat_interleave(torch.tensor(lengths))
    return weights_BL


def portions(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def trained_tokens(inputs: Mapping[str, Any]) -> torch.Tensor:
    """How many tokens of a batch carry loss, each by its weight; the first of a row never does, nothing predicts it."""
    trained_BL = inputs["labels"][:, 1:] != IGNORED
    counted: torch.Tensor = inputs[WEIGHTS][:, 1:][trained_BL] if WEIGHTS in inputs else trained_BL
    return counted.sum()
