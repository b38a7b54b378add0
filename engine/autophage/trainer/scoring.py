"""Teacher-forced scoring: statistics of the model's full distribution at every token of given sequences.

A batch holds sequences of similar length and at most `TOKEN_BUDGET` tokens, padding included. On a CPU it also holds at
most `CPU_SEQUENCES` sequences. With a fused LM head the logits never exist as a whole. Each batch returns from the
device in one transfer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.trainer.head import LanguageHead
from autophage.trainer.rows import at, without_mask
from autophage_kernels import TokenStats

TOKEN_BUDGET = 1 << 14
"""Most tokens of a batch, padding included. Their hidden states take 256 MiB at width 4096 in float32."""
LOGIT_BUDGET = 1 << 26
"""Most logits of a batch that keeps them in memory: 256 MiB in float32."""
CPU_SEQUENCES = 64
"""Most sequences of a batch on a CPU. More are not faster there and need more padding.

A GPU computes all tokens of the budget at once, and waits for the host in batches that are smaller.
"""

COLUMNS = tuple(field.name for field in fields(Scored))


@torch.inference_mode()
def score(
    head: LanguageHead, sequences: Sequence[Sequence[int]], contexts: Sequence[int], meter: Meter
) -> list[Scored]:
    """Return statistics of the tokens `sequences[i][contexts[i]:]` under the model of `head`, for each i in order.

    Sequences are token ids. Contexts have at least one token. `meter` counts sequences.
    """
    results: dict[int, Scored] = {}
    for batch in batches([len(sequence) for sequence in sequences], budget(head)):
        chosen = [sequences[index] for index in batch]
        spans = [(contexts[index], len(sequences[index])) for index in batch]
        rows_TX, target_T = scored_rows(head, chosen, spans)
        stats = head.stats(rows_TX, target_T, COLUMNS)
        results.update(zip(batch, _split(stats, [high - low for low, high in spans]), strict=True))
        meter.advance(len(batch))
    return [results[index] for index in range(len(sequences))]


@torch.inference_mode()
def score_choices(
    head: LanguageHead, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]], meter: Meter
) -> list[Scored]:
    """Return statistics of each token id in `choices[i]` as the next token after `prompts[i]`, for each i in order.

    One pass serves all choices of a prompt. Only the row of its last token passes through the head, once per choice.
    `meter` counts prompts.
    """
    results: dict[int, Scored] = {}
    for batch in batches([len(prompt) for prompt in prompts], budget(head)):
        followed = [[*prompts[index], 0] for index in batch]
        rows_BX, _ = scored_rows(head, followed, [(len(row) - 1, len(row)) for row in followed])
        counts = [len(choices[index]) for index in batch]
        chosen = [place for place, count in enumerate(counts) for _ in range(count)]
        targets = [token for index in batch for token in choices[index]]
        rows_TX = rows_BX.index_select(0, torch.tensor(chosen, dtype=torch.long, device=rows_BX.device))
        stats = head.stats(rows_TX, torch.tensor(targets, dtype=torch.long, device=rows_BX.device), COLUMNS)
        results.update(zip(batch, _split(stats, counts), strict=True))
        meter.advance(len(batch))
    return [results[index] for index in range(len(prompts))]


def _split(stats: TokenStats, lengths: Sequence[int]) -> list[Scored]:
    columns = [column.split(list(lengths)) for column in to_host([getattr(stats, name) for name in COLUMNS])]
    return [Scored(*(column[place].numpy() for column in columns)) for place in range(len(lengths))]


def to_host(columns_T: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return tensors [T] on the CPU, in one transfer. A float64 holds every float32, and every rank and token id."""
    table_CT = torch.stack([column_T.double() for column_T in columns_T]).cpu()
    return [one_T.to(column_T.dtype) for one_T, column_T in zip(table_CT, columns_T, strict=True)]


def scored_rows(
    head: LanguageHead, sequences: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the head's rows [T, ...] that predict the tokens `sequences[b][low:high]`, and these token ids [T].

    `spans[b]` is (low, high). T counts the tokens of all spans.
    """
    width = max(map(len, sequences))
    device = head.model.device
    ids_BL = torch.tensor([[*row, *[0] * (width - len(row))] for row in sequences])
    mask_BL = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in sequences])
    places = [b * width + place for b, (low, high) in enumerate(spans) for place in range(low, high)]
    places_T = torch.tensor(places, dtype=torch.long)
    target_T = ids_BL.flatten()[places_T]
    inputs: dict[str, Any] = {"input_ids": ids_BL.to(device), "attention_mask": mask_BL.to(device)}
    rows_BLX = head.rows(without_mask(inputs))
    return at(rows_BLX, (places_T - 1).to(device)), target_T.to(device)


@dataclass(frozen=True)
class Budget:
    """Limits of a batch. `tokens` counts padding. `sequences` is None where only tokens count."""

    tokens: int
    sequences: int | None = None

    @property
    def half(self) -> Budget:
        """The limits of a batch whose rows are in memory for two models."""
        return replace(self, tokens=self.tokens // 2)

    def holds(self, sequences: int, longest: int) -> bool:
        """Return True if a batch may have so many sequences of at most `longest` tokens."""
        return sequences * longest <= self.tokens and (self.sequences is None or sequences <= self.sequences)


def budget(head: LanguageHead) -> Budget:
    """Return the limits of a batch for the model of `head` on its device. A head that is not fused takes fewer tokens."""
    tokens = TOKEN_BUDGET if head.fused else max(1, LOGIT_BUDGET // head.vocabulary)
    return Budget(tokens, most_sequences(head.model.device))


def most_sequences(device: torch.device) -> int | None:
    """Return the largest number of sequences of a batch on `device`; None where only its tokens count."""
    return CPU_SEQUENCES if device.type == "cpu" else None


def batches(lengths: Sequence[int], limits: Budget) -> Iterator[list[int]]:
    """Group the indices of `lengths` into batches of sequences with similar length, within `limits`.

    A batch has at least one sequence.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and not limits.holds(len(batch) + 1, lengths[index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
