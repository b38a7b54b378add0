"""One model's samples under other models: the full-vocabulary KL at every token, and the other models' statistics.

All models are weights of one variant of the resident model. A batch is run once per model, its tensors copied into the
live ones before; two models' hidden states exist at a time, and their logits only tile by tile. Beside the live weights
the device holds those that are compared, in the type they are scored in: adapters are small, and of whole models it is
the writer and the previous one (the base model is there already), while no gradient and no optimizer is. Knows nothing
of metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autophage.metrics.scored import FLOOR, Compared, Scored
from autophage.progress import Meter
from autophage.store.weights import Weights
from autophage.trainer.head import LanguageHead
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import COLUMNS, batch_tokens, batches, scored_rows
from autophage.trainer.variants import Tensors


@torch.no_grad()  # not inference mode, in which the weights of a model that is spread over ranks cannot be listed
def compare(
    resident: ResidentModel,
    own: Weights,
    others: Sequence[Weights],
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    meter: Meter,
) -> list[list[Compared]]:
    """`result[k][i]`: tokens `sequences[i][contexts[i]:]`, written by `own`, as seen by `others[k]`.

    A divergence that is infinite, where the other model rules out what this one allows, counts as -FLOOR nats.

    `meter` counts sequences. `own` is left loaded.
    """
    resident.load(own)
    variant = resident.live
    models = {weights.digest: _on_device(resident, weights) for weights in (own, *others)}
    heads = {digest: variant.head_of(tensors) for digest, tensors in models.items()}
    head = heads[own.digest]
    found: dict[tuple[str, int], Compared] = {}
    # Two models' rows are held at once, so a batch may have half of what scoring takes.
    for batch in batches([len(sequence) for sequence in sequences], batch_tokens(head) // 2):
        rows = [sequences[index] for index in batch]
        spans = [(contexts[index], len(sequences[index])) for index in batch]
        variant.put(models[own.digest], rounded=True)
        own_TX, target_T = scored_rows(head, rows, spans)
        for digest, tensors in models.items():
            other_TX = own_TX
            if digest != own.digest:
                variant.put(tensors, rounded=True)
                other_TX, _ = scored_rows(head, rows, spans)
            lengths = [high - low for low, high in spans]
            for index, one in zip(
                batch, _compared(head, own_TX, heads[digest], other_TX, target_T, lengths), strict=True
            ):
                found[digest, index] = one
        variant.put(models[own.digest], rounded=True)
        meter.advance(len(batch))
    return [[found[other.digest, index] for index in range(len(sequences))] for other in others]


def _compared(
    own: LanguageHead,
    own_TX: torch.Tensor,
    other: LanguageHead,
    other_TX: torch.Tensor,
    target_T: torch.Tensor,
    lengths: list[int],
) -> list[Compared]:
    stats = other.stats(other_TX, target_T, COLUMNS)
    columns = [getattr(stats, name).cpu().split(lengths) for name in COLUMNS]
    kl_T = own.divergence(own_TX, other, other_TX, ("kl",)).kl
    assert kl_T is not None
    kls = kl_T.clamp(max=-FLOOR).cpu().split(lengths)
    return [
        Compared(Scored(*(column[place].numpy() for column in columns)), kl.numpy()) for place, kl in enumerate(kls)
    ]


def _on_device(resident: ResidentModel, weights: Weights) -> Tensors:
    """The tensors of `weights` where the live ones are, in the type they are scored in."""
    variant, tensors = resident.live, resident.tensors(weights)
    return {name: tensors[name].to(live.device, variant.scored) for name, live in variant.parameters.items()}
