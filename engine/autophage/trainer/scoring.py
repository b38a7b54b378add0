"""Teacher-forced scoring: statistics of the model's full distribution at every token of given sequences.

A batch holds sequences of similar length and at most `TOKEN_BUDGET` tokens, padding included. With a fused LM head the
logits never exist as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch

from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.trainer.head import LanguageHead

TOKEN_BUDGET = 1 << 14
"""Most tokens of a batch, padding included. Their hidden states take 256 MiB at width 4096 in float32."""
LOGIT_BUDGET = 1 << 26
"""Most logits of a batch that keeps them in memory: 256 MiB in float32."""
BATCH = 64
"""Most sequences of a batch. More are not faster on a CPU and need more padding."""

COLUMNS = tuple(field.name for field in fields(Scored))


@torch.inference_mode()
def score(
    head: LanguageHead, sequences: Sequence[Sequence[int]], contexts: Sequence[int], meter: Meter
) -> list[Scored]:
    """Return statistics of the tokens `sequences[i][contexts[i]:]` under the model of `head`, for each i in order.

    Sequences are token ids. Contexts have at least one token. `meter` counts sequences.
    """
    results: dict[int, Scored] = {}
    for batch in batches([len(sequence) for sequence in sequences], batch_tokens(head)):
        chosen = [sequences[index] for index in batch]
        spans = [(contexts[index], len(sequences[index])) for index in batch]
        rows_TX, target_T = scored_rows(head, chosen, spans)
        stats = head.stats(rows_TX, target_T, COLUMNS)
        columns = [getattr(stats, name).cpu().split([high - low for low, high in spans]) for name in COLUMNS]
        for position, index in enumerate(batch):
            results[index] = Scored(*(column[position].numpy() for column in columns))
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
    for batch in batches([len(prompt) for prompt in prompts], batch_tokens(head)):
        followed = [[*prompts[index], 0] for index in batch]
        rows_BX, _ = scored_rows(head, followed, [(len(row) - 1, len(row)) for row in followed])
        counts = torch.tensor([len(choices[index]) for index in batch], device=rows_BX.device)
        targets = [token for index in batch for token in choices[index]]
        rows_TX = rows_BX.repeat_interleave(counts, dim=0)
        stats = head.stats(rows_TX, torch.tensor(targets, device=rows_BX.device), COLUMNS)
        columns = [getattr(stats, name).cpu().split(counts.tolist()) for name in COLUMNS]
        for position, index in enumerate(batch):
            results[index] = Scored(*(column[position].numpy() for column in columns))
        meter.advance(len(batch))
    return [results[index] for index in range(len(prompts))]


def scored_rows(
    head: LanguageHead, sequences: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the head's rows [T, ...] that predict the tokens `sequences[b][low:high]`, and these token ids [T].

    `spans[b]` is (low, high). T counts the tokens of all spans.
    """
    width = max(map(len, sequences))
    device = head.model.device
    ids_BL = torch.tensor([[*row, *[0] * (width - len(row))] for row in sequences], device=device)
    mask_BL = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in sequences], device=device)
    inputs: dict[str, Any] = {"input_ids": ids_BL, "attention_mask": mask_BL}
    rows_BLX = head.rows(inputs)
    rows_TX = torch.cat([rows_BLX[b, low - 1 : high - 1] for b, (low, high) in enumerate(spans)])
    return rows_TX, torch.cat([ids_BL[b, low:high] for b, (low, high) in enumerate(spans)])


def batch_tokens(head: LanguageHead) -> int:
    """Return the largest number of tokens of a batch, padding included. A head that is not fused takes fewer."""
    if head.fused:
        return TOKEN_BUDGET
    return max(1, LOGIT_BUDGET // head.vocabulary)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Group the indices of `lengths` into batches of sequences with similar length.

    A batch has at most `tokens` tokens, padding included, but at least one sequence.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == BATCH or (len(batch) + 1) * lengths[index] > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
