"""The KL divergence of one model's samples from other models, token by token over the full vocabulary.

All models are weights of one variant of the resident model. Each pass runs once per model, whose tensors are copied
into the live ones first. Hidden states of a pass exist for all models, and logits only tile by tile. Beside the live
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
from autophage.trainer.scoring import COLUMNS, PassReader, to_host
from autophage.trainer.variants import Tensors
from autophage_kernels import TokenDivergence, TokenStats, token_divergence, token_stats

LOGITS = 1 << 23
"""Logits of a model that a comparison holds at a time on a CPU, 32 MiB of float32."""


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
    readers = {digest: PassReader(head) for digest in models}
    wanted = list(dict.fromkeys(other.digest for other in others))
    for one in passes(sequences, contexts, budget(head).shared(len(models))):
        lengths = [len(sequences[index]) - contexts[index] for index in one.members]
        rows: dict[str, torch.Tensor] = {}
        for digest, tensors in models.items():
            variant.put(tensors, rounded=True)
            rows[digest], target_T = readers[digest].rows(one, sequences, contexts)
        compared = _compared(head, rows[own.digest], [(heads[digest], rows[digest]) for digest in wanted], target_T)
        for digest, columns in zip(wanted, compared, strict=True):
            found.update(
                {(digest, index): each for index, each in zip(one.members, _split(columns, lengths), strict=True)}
            )
        meter.advance(len(one.members))
    variant.put(models[own.digest], rounded=True)
    return [[found[other.digest, index] for index in range(len(sequences))] for other in others]


def _compared(
    own: LanguageHead,
    own_TX: torch.Tensor,
    others: Sequence[tuple[LanguageHead, torch.Tensor]],
    target_T: torch.Tensor,
) -> list[list[torch.Tensor]]:
    """Return the columns of `COLUMNS` under each other model, then KL(own || other), [T] each.

    On a CPU, each model's logits are computed once, some rows at a time, and serve statistics and all divergences.
    """
    if own_TX.device.type == "cuda":
        return [
            _columns(other.stats(other_TX, target_T, COLUMNS), own.divergence(own_TX, other, other_TX, ("kl",)))
            for other, other_TX in others
        ]
    parts: list[list[list[torch.Tensor]]] = [[] for _ in others]
    size = max(1, LOGITS // own.vocabulary)
    for start in range(0, max(1, len(own_TX)), size):
        rows = slice(start, start + size)
        own_RV = own.logits(own_TX[rows])
        for (other, other_TX), found in zip(others, parts, strict=True):
            other_RV = own_RV if other_TX is own_TX else other.logits(other_TX[rows])
            stats = token_stats(other_RV, target_T[rows], statistics=COLUMNS)
            found.append(_columns(stats, token_divergence(own_RV, other_RV, divergences=("kl",))))
    return [[torch.cat(column) for column in zip(*found, strict=True)] for found in parts]


def _columns(stats: TokenStats, divergence: TokenDivergence) -> list[torch.Tensor]:
    assert divergence.kl is not None
    return [*(getattr(stats, name) for name in COLUMNS), divergence.kl]


def _split(columns: Sequence[torch.Tensor], lengths: list[int]) -> list[Compared]:
    """Return one `Compared` per sequence from the columns of `COLUMNS` and the divergence, [T] each."""
    *stats, kl_T = columns
    *parts, kls = (column_T.split(lengths) for column_T in to_host([*stats, kl_T.clamp(max=-FLOOR)]))
    return [Compared(Scored(*(part[place].numpy() for part in parts)), kl.numpy()) for place, kl in enumerate(kls)]


def _on_device(resident: ResidentModel, weights: Weights) -> Tensors:
    """Return the tensors of `weights` by name, on the device and in the type in which they are scored.

    They lie beside the live ones, which stay as they are.
    """
    variant, tensors = resident.live, resident.tensors(weights)
    return {name: tensors[name].to(live.device, variant.scored) for name, live in variant.parameters.items()}
