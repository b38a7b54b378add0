"""Teacher-forced scoring: statistics of the model's full distribution at every token of given sequences.

`passes` decides which sequences are computed together, and which prefixes they share. Only rows that predict a scored
token go through the LM head. With a fused LM head the logits never exist as a whole. Each pass returns from the device in
one transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.trainer.head import LanguageHead
from autophage.trainer.passes import Budget, Pass, budget, passes
from autophage.trainer.prefill import Prefilled, prefill, rows_after
from autophage.trainer.rows import at, without_mask
from autophage_kernels import TokenStats

COLUMNS = tuple(field.name for field in fields(Scored))


@torch.inference_mode()
def score(
    head: LanguageHead,
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    meter: Meter,
    limits: Budget | None = None,
) -> list[Scored]:
    """Return statistics of the tokens `sequences[i][contexts[i]:]` under the model of `head`, for each i in order.

    Sequences are token ids. Contexts have at least one token. `meter` counts sequences. `limits` are those of a pass, the
    usual ones if None.
    """
    results: dict[int, Scored] = {}
    reader = PassReader(head)
    for one in passes(sequences, contexts, limits or budget(head)):
        rows_TX, target_T = reader.rows(one, sequences, contexts)
        stats = head.stats(rows_TX, target_T, COLUMNS)
        lengths = [len(sequences[index]) - contexts[index] for index in one.members]
        results.update(zip(one.members, _split(stats, lengths), strict=True))
        meter.advance(len(one.members))
    return [results[index] for index in range(len(sequences))]


@torch.inference_mode()
def score_choices(
    head: LanguageHead,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[int]],
    meter: Meter,
    limits: Budget | None = None,
) -> list[Scored]:
    """Return statistics of each token id in `choices[i]` as the next token after `prompts[i]`, for each i in order.

    One pass serves all choices of a prompt. Only the row of its last token passes through the head, once per choice.
    `meter` counts prompts. `limits` are those of a pass, the usual ones if None.
    """
    results: dict[int, Scored] = {}
    followed, contexts = [[*prompt, 0] for prompt in prompts], [len(prompt) for prompt in prompts]
    reader = PassReader(head)
    for one in passes(followed, contexts, limits or budget(head)):
        rows_BX, _ = reader.rows(one, followed, contexts)
        counts = [len(choices[index]) for index in one.members]
        chosen = [place for place, count in enumerate(counts) for _ in range(count)]
        targets = [token for index in one.members for token in choices[index]]
        rows_TX = rows_BX.index_select(0, torch.tensor(chosen, dtype=torch.long, device=rows_BX.device))
        stats = head.stats(rows_TX, torch.tensor(targets, dtype=torch.long, device=rows_BX.device), COLUMNS)
        results.update(zip(one.members, _split(stats, counts), strict=True))
        meter.advance(len(one.members))
    return [results[index] for index in range(len(prompts))]


def _split(stats: TokenStats, lengths: Sequence[int]) -> list[Scored]:
    columns = [column.split(list(lengths)) for column in to_host([getattr(stats, name) for name in COLUMNS])]
    return [Scored(*(column[place].numpy() for column in columns)) for place in range(len(lengths))]


def to_host(columns_T: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return tensors [T] on the CPU, in one transfer. A float64 holds every float32, and every rank and token id."""
    table_CT = torch.stack([column_T.double() for column_T in columns_T]).cpu()
    return [one_T.to(column_T.dtype) for one_T, column_T in zip(table_CT, columns_T, strict=True)]


class PassReader:
    """The rows of passes under one model. Prefixes stay in its cache as long as passes have the same ones."""

    def __init__(self, head: LanguageHead) -> None:
        self._head = head
        self._held: tuple[list[Sequence[int]], Prefilled] | None = None

    def rows(
        self, one: Pass, sequences: Sequence[Sequence[int]], contexts: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows [T, ...] that predict `sequences[i][contexts[i]:]` of the members of a pass, and these ids [T].

        Members follow in the order of the pass.
        """
        own = [sequences[index] for index in one.members]
        spans = [(contexts[index], len(sequences[index])) for index in one.members]
        if not one.prefixes:
            return scored_rows(self._head, own, spans)
        lengths = [len(one.prefixes[which]) for which in one.chosen]
        suffixes = [sequence[length:-1] for sequence, length in zip(own, lengths, strict=True)]
        rows_BSX = rows_after(self._head, self._prefilled(one.prefixes), one.chosen, suffixes)
        starts = [b * rows_BSX.shape[1] - length - 1 for b, length in enumerate(lengths)]
        places = [start + place for start, span in zip(starts, spans, strict=True) for place in range(*span)]
        targets = [token for sequence, (low, high) in zip(own, spans, strict=True) for token in sequence[low:high]]
        places_T, target_T = (torch.tensor(numbers, dtype=torch.long) for numbers in (places, targets))
        return at(rows_BSX, places_T.to(rows_BSX.device)), target_T.to(rows_BSX.device)

    def _prefilled(self, prefixes: list[Sequence[int]]) -> Prefilled:
        if self._held is None or self._held[0] != prefixes:
            self._held = None  # its memory is free before the next prefixes take theirs
            self._held = (prefixes, prefill(self._head, prefixes))
        return self._held[1]


def scored_rows(
    head: LanguageHead, sequences: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the head's rows [T, ...] that predict the tokens `sequences[b][low:high]`, and these token ids [T].

    `spans[b]` is (low, high). T counts the tokens of all spans. The last token of the longest sequence predicts nothing, and
    is left out.
    """
    width = max(1, max(map(len, sequences)) - 1)
    device = head.model.device
    ids_BL = torch.tensor([[*row[:width], *[0] * (width - len(row))] for row in sequences])
    mask_BL = torch.tensor([[1] * min(width, len(row)) + [0] * (width - len(row)) for row in sequences])
    places = [b * width + place - 1 for b, (low, high) in enumerate(spans) for place in range(low, high)]
    targets = [token for row, (low, high) in zip(sequences, spans, strict=True) for token in row[low:high]]
    places_T, target_T = (torch.tensor(numbers, dtype=torch.long) for numbers in (places, targets))
    inputs: dict[str, Any] = {"input_ids": ids_BL.to(device), "attention_mask": mask_BL.to(device)}
    rows_BLX = head.rows(without_mask(inputs))
    return at(rows_BLX, places_T.to(device)), target_T.to(device)
