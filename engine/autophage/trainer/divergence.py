"""One model's samples under other models: the full-vocabulary KL at every token, and the other models' statistics.

All models are adapters on the resident base. A batch is run once per model, its adapter's tensors copied into the one
slot before, so logits of two models exist at a time and nothing is kept of size [T, V]. Knows nothing of metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import safetensors.torch
import torch

from autophage.metrics.scored import FLOOR, Compared, Scored
from autophage.store.adapter import Adapter
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import _batches
from autophage_kernels import token_stats

CHUNK_ELEMENTS = 1 << 22
"""Logits of a chunk: 16 MiB of float32, of which a handful of temporaries are made."""


@torch.inference_mode()
def compare(
    resident: ResidentModel,
    own: Adapter,
    others: Sequence[Adapter],
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    progress: Callable[[int], None],
) -> list[list[Compared]]:
    """`result[k][i]`: tokens `sequences[i][contexts[i]:]`, written by `own`, as seen by `others[k]`.

    `progress` is called with the number of sequences after each batch. `own` is left loaded.
    """
    resident.load(own)
    slots = _slots(resident.model)
    models = {adapter.digest: _tensors(adapter, slots) for adapter in (own, *others)}
    found: dict[tuple[str, int], Compared] = {}
    vocabulary = resident.model.config.get_text_config().vocab_size
    # Two models' logits are held at once, so a batch may have half of what scoring takes.
    for batch in _batches([len(sequence) for sequence in sequences], 2 * vocabulary):
        rows, starts = [sequences[index] for index in batch], [contexts[index] for index in batch]
        _copy(models[own.digest], slots)
        own_TV, target_T, lengths = _logits(resident.model, rows, starts)
        for digest, tensors in models.items():
            if digest == own.digest:
                other_TV = own_TV
            else:
                _copy(tensors, slots)
                other_TV = _logits(resident.model, rows, starts)[0]
            for index, one in zip(batch, _compared(own_TV, other_TV, target_T, lengths), strict=True):
                found[digest, index] = one
        _copy(models[own.digest], slots)
        progress(len(batch))
    return [[found[other.digest, index] for index in range(len(sequences))] for other in others]


def token_divergence(logits_TV: torch.Tensor, other_TV: torch.Tensor) -> torch.Tensor:
    """KL(softmax(logits) || softmax(other)) of each row, nats, float32 [T].

    A token without probability under the first contributes 0; one without any under the second alone counts as if it had
    e^FLOOR there, so the result is finite. Rows are computed in float32 in chunks. This is the one place where two whole
    distributions meet: a fused kernel over hidden states stands in for it and for the logits it is given.
    """
    rows = max(1, CHUNK_ELEMENTS // logits_TV.shape[1])
    chunks = []
    for own_TV, chunk_TV in zip(logits_TV.split(rows), other_TV.split(rows), strict=True):
        log_p_TV = own_TV.float().log_softmax(1)
        log_q_TV = chunk_TV.float().log_softmax(1).clamp_min(FLOOR)
        p_TV = log_p_TV.exp()
        terms_TV = torch.where(p_TV > 0, p_TV * (log_p_TV - log_q_TV), 0.0)
        chunks.append(terms_TV.sum(1).clamp_min(0.0))
    return torch.cat(chunks)


def _compared(
    own_TV: torch.Tensor, other_TV: torch.Tensor, target_T: torch.Tensor, lengths: list[int]
) -> list[Compared]:
    stats = token_stats(other_TV, target_T)
    columns = [
        getattr(stats, name).cpu().split(lengths)
        for name in ("logprob", "entropy", "varentropy", "max_prob", "rank", "argmax")
    ]
    kls = token_divergence(own_TV, other_TV).cpu().split(lengths)
    return [
        Compared(Scored(*(column[place].numpy() for column in columns)), kl.numpy()) for place, kl in enumerate(kls)
    ]


def _logits(
    model: Any, rows: Sequence[Sequence[int]], starts: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Logits and targets of all rows' tokens after their starts, one row after the other, and how many each has."""
    width = max(map(len, rows))
    ids_BL = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    mask_BL = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    logits_BLV = model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).logits
    spans = [(start, len(row)) for start, row in zip(starts, rows, strict=True)]
    logits_TV = torch.cat([logits_BLV[b, low - 1 : high - 1] for b, (low, high) in enumerate(spans)])
    target_T = torch.cat([ids_BL[b, low:high] for b, (low, high) in enumerate(spans)])
    return logits_TV, target_T, [high - low for low, high in spans]


def _slots(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's live tensors by PEFT's names: what is copied into them is what the model computes with."""
    from peft import get_peft_model_state_dict

    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model)
    return state


def _tensors(adapter: Adapter, slots: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """An adapter's tensors in the order, on the device and of the type of `slots`."""
    weights = safetensors.torch.load(adapter.weights)
    return [weights[name].to(slot) for name, slot in slots.items()]


def _copy(tensors: Sequence[torch.Tensor], slots: dict[str, torch.Tensor]) -> None:
    for slot, tensor in zip(slots.values(), tensors, strict=True):
        slot.copy_(tensor)
