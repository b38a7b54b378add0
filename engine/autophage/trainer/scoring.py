"""Teacher-forced scoring: the model's full distribution at every token of given sequences, without training it.

Batches hold sequences of similar length and at most `LOGIT_BUDGET` logits at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch

from autophage.metrics.scored import Scored
from autophage_kernels import token_stats

LOGIT_BUDGET = 1 << 26
"""Logits held at once: 256 MiB in float32."""
BATCH = 64
"""Sequences of a batch at most; more is no faster on a CPU and pads more."""

COLUMNS = tuple(field.name for field in fields(Scored))


@torch.inference_mode()
def score(
    model: Any, sequences: Sequence[Sequence[int]], contexts: Sequence[int], progress: Callable[[int], None]
) -> list[Scored]:
    """Statistics of `sequences[i][contexts[i]:]` for each i, in order; contexts are at least 1.

    `progress` is called with the number of sequences after each batch. `model` is a causal language model of transformers,
    or PEFT around one.
    """
    results: dict[int, Scored] = {}
    vocabulary = model.config.get_text_config().vocab_size
    for batch in _batches([len(sequence) for sequence in sequences], vocabulary):
        rows = [sequences[index] for index in batch]
        width = max(map(len, rows))
        ids_BL = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
        mask_BL = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        logits_BLV = model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).logits
        spans = [(contexts[index], len(row)) for index, row in zip(batch, rows, strict=True)]
        logits_TV = torch.cat([logits_BLV[b, low - 1 : high - 1] for b, (low, high) in enumerate(spans)])
        target_T = torch.cat([ids_BL[b, low:high] for b, (low, high) in enumerate(spans)])
        stats = token_stats(logits_TV, target_T, statistics=COLUMNS)
        columns = [getattr(stats, name).cpu().split([high - low for low, high in spans]) for name in COLUMNS]
        for position, index in enumerate(batch):
            results[index] = Scored(*(column[position].numpy() for column in columns))
        progress(len(batch))
    return [results[index] for index in range(len(sequences))]


def _batches(lengths: Sequence[int], vocabulary: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, within the logit budget (one sequence at least)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == BATCH or (len(batch) + 1) * lengths[index] * vocabulary > LOGIT_BUDGET):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
