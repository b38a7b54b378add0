"""Editing of human text: the most predictable tokens are resampled from a model (arXiv 2412.14689).

    y'_t = y_t                                       if p(y_t | y_<t) < threshold, or y_t is a special token
    y'_t ~ p(. | y_<t) without special tokens        otherwise

The context y_<t is always the human's, so one forward pass edits a whole document. Tokens that the model finds
improbable, such as rare words, stay. A draw inverts the distribution function at a uniform number. That number depends
on the run's seed, the generation, and the places of document and token. It depends neither on the threshold nor on
other edits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from autophage.data.mix import AnyRow, TrainingRow
from autophage.recipe.schema import Recipe
from autophage.seeds import derive
from autophage.store.manifest import Metric
from autophage.trainer.head import LanguageHead
from autophage.trainer.passes import LOGIT_BUDGET, batches, budget
from autophage.trainer.scoring import scored_rows


class Edited(NamedTuple):
    """The token ids of a sequence after its edit, and the number of its resampled tokens.

    A resampled token may be the same token.
    """

    token_ids: list[int]
    drawn: int


def edit_human(
    rows: Sequence[AnyRow], head: LanguageHead, special: Collection[int], recipe: Recipe, generation: int
) -> tuple[list[AnyRow], list[Metric]]:
    """Resample the predictable tokens of human rows in a training pool, from the model of `head`.

    Tokens whose model probability is at least `mix.human_edit` are resampled. Token ids in `special` stay, and no draw
    yields one.

    Returns:
        All rows in their order, and two metrics: `mix/redrawn` is the share of resampled tokens, `mix/edited` the share
        of changed tokens. Both count tokens after the context of human rows. Without such tokens there is no metric.
    """
    assert recipe.mix.human_edit is not None
    human = [(place, row) for place, row in enumerate(rows) if isinstance(row, TrainingRow) and not row.synthetic]
    found = edited(
        head,
        [row.token_ids for _, row in human],
        [row.context for _, row in human],
        recipe.mix.human_edit,
        special,
        [derive(recipe.seed, "edit", generation, place) for place, _ in human],
    )
    new = {place: replace(row, token_ids=one.token_ids) for (place, row), one in zip(human, found, strict=True)}
    metrics = _shares([row for _, row in human], found)
    return [new.get(place, row) for place, row in enumerate(rows)], metrics


def _shares(rows: Sequence[TrainingRow], found: Sequence[Edited]) -> list[Metric]:
    tokens = sum(len(row.token_ids) - row.context for row in rows)
    if not tokens:
        return []
    changed = sum(
        before != after
        for row, one in zip(rows, found, strict=True)
        for before, after in zip(row.token_ids, one.token_ids, strict=True)
    )
    counts = {"mix/redrawn": sum(one.drawn for one in found), "mix/edited": changed}
    return [Metric(name, count / tokens, n=tokens) for name, count in counts.items()]


@torch.no_grad()
def edited(
    head: LanguageHead,
    sequences: Sequence[Sequence[int]],
    contexts: Sequence[int],
    threshold: float,
    special: Collection[int],
    seeds: Sequence[int],
) -> list[Edited]:
    """Resample the tokens of each sequence whose model probability is at least `threshold`.

    Sequences are token ids. The first `contexts[i]` tokens of sequence i stay, at least one. Ids in `special` stay too.
    `seeds[i]` decides the random numbers of sequence i.
    """
    results = [Edited(list(sequence), 0) for sequence in sequences]
    for batch in batches([len(sequence) for sequence in sequences], budget(head)):
        spans = [(contexts[index], len(sequences[index])) for index in batch]
        rows_TX, target_T = scored_rows(head, [sequences[index] for index in batch], spans)
        logprob_T = head.stats(rows_TX, target_T, ("logprob",)).logprob
        assert logprob_T is not None
        special_S = torch.tensor(sorted(special), dtype=target_T.dtype, device=target_T.device)
        expected_T = (logprob_T >= math.log(threshold)) & ~torch.isin(target_T, special_S)
        uniform = [np.random.default_rng(seeds[index]).random(len(sequences[index])) for index in batch]
        uniform_T = np.concatenate([one[low:high] for one, (low, high) in zip(uniform, spans, strict=True)])
        drawn_T = target_T.clone()
        chosen_K = expected_T.nonzero().flatten()
        for part_K in chosen_K.split(max(1, LOGIT_BUDGET // head.vocabulary)):
            uniform_K = torch.from_numpy(uniform_T[part_K.cpu().numpy()]).to(target_T.device)
            drawn_T[part_K] = draw(head.logits(rows_TX[part_K]), special_S, uniform_K)
        lengths = [high - low for low, high in spans]
        parts = zip(drawn_T.split(lengths), expected_T.split(lengths), strict=True)
        for index, (low, _), (ids, expected) in zip(batch, spans, parts, strict=True):
            results[index] = Edited([*sequences[index][:low], *ids.tolist()], int(expected.sum()))
    return results


def draw(logits_KV: torch.Tensor, special_S: torch.Tensor, uniform_K: torch.Tensor) -> torch.Tensor:
    """Draw one token id per row of `logits_KV`, never one of the special ids.

    Row k takes the first id whose cumulative probability exceeds `uniform_K[k]`, a number in [0, 1).
    """
    p_KV = logits_KV.double().index_fill(1, special_S, -math.inf).softmax(1)
    cumulative_KV = p_KV.cumsum(1)
    reached_K1 = torch.searchsorted(cumulative_KV, uniform_K.unsqueeze(1) * cumulative_KV[:, -1:], right=True)
    # Rounding may leave the total a little below the uniform number.
    last_K1 = p_KV.shape[1] - 1 - p_KV.flip(1).ne(0).long().argmax(1, keepdim=True)
    return torch.minimum(reached_K1, last_K1).squeeze(1)
