"""The KL divergence of one model's samples from other models, token by token over the full vocabulary.

All models are weights of one variant of the resident model. Each pass runs once per model, whose tensors are copied
into the live ones first. Hidden states of two models exist at a time, and logits only tile by tile. Beside the live
weights the device holds the compared weights, in the type in which they are scored. Adapters are small. Of full models
only the writer and the previous model are compared. Gradients and optimizer states are not in memory then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autophage.metrics.scored import FLOOR, Compared, Scored
from autophage.progress import Meter
from autophage.store.weights import Weights
from autophage.trainer.head import LanguageHead
from autophage.trainer.passes import budget, passes
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import COLUMNS, pass_rows, to_host
from autophage.trainer.variants import Tensors


@torch.no_grad()  # inference mode forbids listing the weights of a model that is spread over ranks
def compare(
    resident: ResidentModel,
    own: Weights,
    others: Sequence[Weights],
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    meter: Meter,
) -> list[list[Compared]]:
    """Compare `others` with `own` on the tokens `sequences[i][contexts[i]:]` that `own` wrote.

    Sequences are token ids. `own` is loaded afterwards. `meter` counts sequences.

    Returns:
        `result[k][i]` compares `others[k]` on sequence i: token statistics under `others[k]`, and KL(own || other) in
        nats at each token. An infinite divergence counts as -FLOOR nats: the other model excludes a token that `own`
        allows.
    """
    resident.load(own)
    variant = resident.live
    models = {weights.digest: _on_device(resident, weights) for weights in (own, *others)}
    heads = {digest: variant.head_of(tensors) for digest, tensors in models.items()}
    head = heads[own.digest]
    found: dict[tuple[str, int], Compared] = {}
    # Rows of two models are in memory at once, so a pass has half the tokens of a scoring pass.
    for one in passes(sequences, contexts, budget(head).half):
        lengths = [len(sequences[index]) - contexts[index] for index in one.members]
        variant.put(models[own.digest], rounded=True)
        own_TX, target_T = pass_rows(head, one, sequences, contexts)
        for digest, tensors in models.items():
            other_TX = own_TX
            if digest != own.digest:
                variant.put(tensors, rounded=True)
                other_TX, _ = pass_rows(head, one, sequences, contexts)
            compared = _compared(head, own_TX, heads[digest], other_TX, target_T, lengths)
            found.update({(digest, index): other for index, other in zip(one.members, compared, strict=True)})
        variant.put(models[own.digest], rounded=True)
        meter.advance(len(one.members))
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
    kl_T = own.divergence(own_TX, other, other_TX, ("kl",)).kl
    assert kl_T is not None
    found = to_host([*(getattr(stats, name) for name in COLUMNS), kl_T.clamp(max=-FLOOR)])
    *columns, kls = (column_T.split(lengths) for column_T in found)
    return [
        Compared(Scored(*(column[place].numpy() for column in columns)), kl.numpy()) for place, kl in enumerate(kls)
    ]


def _on_device(resident: ResidentModel, weights: Weights) -> Tensors:
    """Return the tensors of `weights` by name, on the device and in the type in which they are scored.

    They lie beside the live ones, which stay as they are.
    """
    variant, tensors = resident.live, resident.tensors(weights)
    return {name: tensors[name].to(live.device, variant.scored) for name, live in variant.parameters.items()}
