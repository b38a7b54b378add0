"""What model g+1 is trained on: the pool of generations, the synthetic fraction, and the order of the rows.

Pure functions of the recipe, committed samples and human items. A training row is a document as token ids with a loss
mask; the order is a permutation fixed by a seed, never by arrival.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autophage.data.source import Item, Source
from autophage.recipe.schema import Recipe
from autophage.seeds import derive, generator
from autophage.store.corpus import Sample

BUCKET_BATCHES = 8
"""Batches that are sorted by length together: enough to save most padding, few enough not to order the corpus by length."""


@dataclass(frozen=True)
class Row:
    """One training document. `context` tokens at its start carry no loss."""

    token_ids: list[int]
    context: int


def human_items(source: Source, recipe: Recipe, generation: int, count: int) -> list[Item]:
    """The human items that model `generation` + 1 is trained beside; the same in every arm with the same seed."""
    path = ("human", generation) if recipe.mix.human == "fresh" else ("human",)
    return source.items(derive(recipe.seed, *path), count)


def prompt_ids(source: Source, recipe: Recipe, generation: int) -> list[list[int]]:
    """The prompts of corpus `generation`."""
    path = ("prompts", generation) if recipe.sample.prompt_set == "fresh" else ("prompts",)
    return source.prompts(derive(recipe.seed, *path), recipe.sample.count)


def mixed_rows(source: Source, recipe: Recipe, generation: int, samples: Sequence[Sample]) -> list[Row]:
    """Corpus `generation` mixed with human data at alpha: `sample.count` rows, fewer where too few samples were accepted."""
    count = recipe.sample.count
    synthetic = round(recipe.mix.alpha * count)
    accepted = [sample for sample in samples if sample.accepted][:synthetic]
    humans = human_items(source, recipe, generation, count - synthetic)
    start = source.start_ids
    rows = [_row(start, sample.prompt_ids, sample.token_ids, recipe) for sample in accepted]
    return rows + [_row(start, item.prompt_ids, item.continuation_ids, recipe) for item in humans]


def pool_rows(source: Source, recipe: Recipe, corpora: Mapping[int, Sequence[Sample]]) -> list[Row]:
    """Training rows of the model that follows the last of `corpora`, which maps generations to their samples.

    replace: the last mix. accumulate: `sample.count` human documents (the data of before the loop) and every mix so far.
    accumulate-subsample: as many rows as replace has, drawn from that pool (arXiv 2404.01413, 2410.16713).
    """
    last = max(corpora)
    if recipe.mix.pool == "replace":
        return mixed_rows(source, recipe, last, corpora[last])
    original = source.items(derive(recipe.seed, "original"), recipe.sample.count)
    pool = [_row(source.start_ids, item.prompt_ids, item.continuation_ids, recipe) for item in original]
    for generation, samples in sorted(corpora.items()):
        pool += mixed_rows(source, recipe, generation, samples)
    if recipe.mix.pool == "accumulate":
        return pool
    rng = generator(recipe.seed, "subsample", last)
    return rng.sample(pool, min(len(pool), recipe.sample.count))


def needed_corpora(recipe: Recipe, generation: int) -> list[int]:
    """Which corpora `pool_rows` wants in order to train model `generation`."""
    return [generation - 1] if recipe.mix.pool == "replace" else list(range(generation))


def training_order(rows: Sequence[Row], recipe: Recipe, seed: int) -> list[Row]:
    """`rows` as they are seen: `epochs` permutations one after the other, batches of similar length, the last epoch cut."""
    batch = recipe.train.batch_size
    order: list[Row] = []
    for epoch in range(math.ceil(recipe.train.epochs)):
        rng = generator(seed, "order", epoch)
        shuffled = rng.sample(rows, len(rows))
        width = batch * BUCKET_BATCHES
        batches: list[list[Row]] = []
        for start in range(0, len(shuffled), width):
            bucket = sorted(shuffled[start : start + width], key=lambda row: len(row.token_ids))
            batches += [bucket[first : first + batch] for first in range(0, len(bucket), batch)]
        # A short batch stays last, so that every optimizer step but one has the full batch size.
        full, short = [b for b in batches if len(b) == batch], [b for b in batches if len(b) < batch]
        rng.shuffle(full)
        order += [row for chosen in full + short for row in chosen]
    return order[: max(1, round(recipe.train.epochs * len(rows)))] if rows else []


def _row(start: list[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> Row:
    if recipe.train.loss_on == "continuation":
        return Row([*start, *continuation], len(start))
    return Row([*prompt, *continuation], len(prompt) if recipe.train.loss_on == "completion" else 1)
