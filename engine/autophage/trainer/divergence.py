"""One model's samples under other models: the full-vocabulary KL at every token, and the other models' statistics.

All models are adapters on the resident base. A batch is run once per model, its adapter's tensors copied into the one
slot before; two models' hidden states exist at a time, and their logits only tile by tile. Knows nothing of metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import safetensors.torch
import torch

from autophage.metrics.scored import FLOOR, Compared, Scored
from autophage.store.weights import Weights
from autophage.trainer.head import Head
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import COLUMNS, batch_tokens, batches, scored_rows


@torch.no_grad()  # not inference mode, in which the weights of a model that is spread over ranks cannot be listed
def compare(
    resident: ResidentModel,
    own: Weights,
    others: Sequence[Weights],
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    progress: Callable[[int], None],
) -> list[list[Compared]]:
    """`result[k][i]`: tokens `sequences[i][contexts[i]:]`, written by `own`, as seen by `others[k]`.

    A divergence that is infinite, where the other model rules out what this one allows, counts as -FLOOR nats.

    `progress` is called with the number of sequences after each batch. `own` is left loaded.
    """
    resident.load(own)
    head, slots = resident.head, _slots(resident.model)
    models = {adapter.digest: _tensors(adapter, slots) for adapter in (own, *others)}
    found: dict[tuple[str, int], Compared] = {}
    # Two models' rows are held at once, so a batch may have half of what scoring takes.
    for batch in batches([len(sequence) for sequence in sequences], batch_tokens(head) // 2):
        rows = [sequences[index] for index in batch]
        spans = [(contexts[index], len(sequences[index])) for index in batch]
        _copy(models[own.digest], slots)
        own_TX, target_T = scored_rows(head, rows, spans)
        for digest, tensors in models.items():
            other_TX = own_TX
            if digest != own.digest:
                _copy(tensors, slots)
                other_TX, _ = scored_rows(head, rows, spans)
            lengths = [high - low for low, high in spans]
            for index, one in zip(batch, _compared(head, own_TX, other_TX, target_T, lengths), strict=True):
                found[digest, index] = one
        _copy(models[own.digest], slots)
        progress(len(batch))
    return [[found[other.digest, index] for index in range(len(sequences))] for other in others]


def _compared(
    head: Head, own_TX: torch.Tensor, other_TX: torch.Tensor, target_T: torch.Tensor, lengths: list[int]
) -> list[Compared]:
    stats = head.stats(other_TX, target_T, COLUMNS)
    columns = [getattr(stats, name).cpu().split(lengths) for name in COLUMNS]
    kl_T = head.divergence(own_TX, head, other_TX, ("kl",)).kl
    assert kl_T is not None
    kls = kl_T.clamp(max=-FLOOR).cpu().split(lengths)
    return [
        Compared(Scored(*(column[place].numpy() for column in columns)), kl.numpy()) for place, kl in enumerate(kls)
    ]


def _slots(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's live tensors by PEFT's names: what is copied into them is what the model computes with."""
    from peft import get_peft_model_state_dict

    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model)
    return state


def _tensors(adapter: Weights, slots: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """An adapter's tensors in the order, on the device and of the type of `slots`."""
    weights = safetensors.torch.load(adapter.tensors)
    return [weights[name].to(slot) for name, slot in slots.items()]


def _copy(tensors: Sequence[torch.Tensor], slots: dict[str, torch.Tensor]) -> None:
    for slot, tensor in zip(slots.values(), tensors, strict=True):
        slot.copy_(tensor)
