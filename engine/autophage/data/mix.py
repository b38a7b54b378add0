"""What model g+1 is trained on: the pool of generations, the synthetic fraction, and the order of the rows.

Functions of the recipe, samples and human items, and of nothing else. A training row is a document as token ids with a
loss mask; the order is fixed by a seed, never by arrival. In the first epoch the newest corpus comes in the order in which
it was asked for, with everything else strewn in at random: its samples are exchangeable, so that this is as random an order
as any, and training can begin before the last of them is written (`late`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from autophage.data.annotation import document_ids
from autophage.data.late import LateSample
from autophage.data.source import Item, Source
from autophage.recipe.schedule import alpha_of
from autophage.recipe.schema import Recipe
from autophage.seeds import derive, generator
from autophage.store.corpus import Sample

T = TypeVar("T")

BUCKET_BATCHES = 8
"""Batches that are sorted by length together: enough to save most padding, few enough not to order the corpus by length."""


@dataclass(frozen=True)
class TrainingRow:
    """One training document. `context` tokens at its start carry no loss; `synthetic` is whether a model wrote the rest.

    `newest` is the place of a sample in the corpus that was written last; None for what was there before. `weight` is what each
    of its tokens counts in the loss.
    """

    token_ids: list[int]
    context: int
    newest: int | None = None
    synthetic: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class LateRow:
    """A `TrainingRow` of a sample that may not be written yet: whoever asks for its tokens waits for them."""

    sample: LateSample
    start: list[int]
    recipe: Recipe
    newest: int | None
    weight: float = 1.0

    @property
    def token_ids(self) -> list[int]:
        return self._row.token_ids

    @property
    def context(self) -> int:
        return self._row.context

    @property
    def synthetic(self) -> bool:
        return True

    @property
    def _row(self) -> TrainingRow:
        return written_row(self.start, self.sample, self.recipe, self.newest)


AnyRow = TrainingRow | LateRow
AnySamples = Sequence[Sample] | Sequence[LateSample]


def human_items(source: Source, recipe: Recipe, generation: int, count: int) -> list[Item]:
    """The human items that model `generation` + 1 is trained beside; the same in every arm with the same seed."""
    return source.items(human_draw(recipe, generation), count, recipe.mix.rare)


def human_draw(recipe: Recipe, generation: int) -> int:
    """The seed of the human data that model `generation` + 1 is trained beside."""
    path = ("human", generation) if recipe.mix.human == "fresh" else ("human",)
    return derive(recipe.seed, *path)


def original_draw(recipe: Recipe) -> int:
    """The seed of the human data of before the loop, which a pool that accumulates begins with."""
    return derive(recipe.seed, "original")


def synthetic_count(recipe: Recipe, generation: int) -> int:
    """How many of the `sample.count` rows of the mix of corpus `generation` a model wrote."""
    return round(alpha_of(recipe, generation) * recipe.sample.count)


def prompt_ids(source: Source, recipe: Recipe, generation: int) -> list[list[int]]:
    """The prompts of corpus `generation`, one for each document."""
    path = ("prompts", generation) if recipe.sample.prompt_set == "fresh" else ("prompts",)
    return source.prompts(derive(recipe.seed, *path), recipe.sample.written)


def mixed_rows(
    source: Source, recipe: Recipe, generation: int, samples: AnySamples, *, newest: bool = False
) -> list[AnyRow]:
    """Corpus `generation` mixed with human data at its alpha: `sample.count` rows.

    The synthetic ones are the first samples that were accepted. Where those are too few, `mix.short` decides: fewer rows, the
    accepted ones again from the first on, or further human ones. Of a corpus that nothing was accepted of nothing is repeated.
    """
    count = recipe.sample.count
    synthetic = synthetic_count(recipe, generation)
    accepted = [sample for sample in samples if sample.accepted][:synthetic]
    human = count - synthetic
    if recipe.mix.short == "repeat" and accepted:
        accepted = list(itertools.islice(itertools.cycle(accepted), synthetic))
    elif recipe.mix.short == "human":
        human = count - len(accepted)
    humans = human_items(source, recipe, generation, human)
    start = source.start_ids
    rows: list[AnyRow] = []
    for place, sample in enumerate(accepted):
        own = place if newest else None
        if isinstance(sample, LateSample):
            rows.append(LateRow(sample, start, recipe, own))
        else:
            rows.append(replace(written_row(start, sample, recipe, own), weight=sample.weight))
    return rows + [_row(start, item.prompt_ids, item.continuation_ids, recipe) for item in humans]


def pool_rows(source: Source, recipe: Recipe, corpora: Mapping[int, AnySamples]) -> list[AnyRow]:
    """Training rows of the model that follows the last of `corpora`, which maps generations to their samples."""
    last = max(corpora)

    def original() -> list[AnyRow]:
        items = source.items(original_draw(recipe), recipe.sample.count, recipe.mix.rare)
        return [_row(source.start_ids, item.prompt_ids, item.continuation_ids, recipe) for item in items]

    def mixed(generation: int) -> list[AnyRow]:
        return mixed_rows(source, recipe, generation, corpora[generation], newest=generation == last)

    return pooled(recipe, last, original, mixed)


def pooled(recipe: Recipe, last: int, original: Callable[[], list[T]], mixed: Callable[[int], list[T]]) -> list[T]:
    """The rows, of whatever kind, that the model after generation `last` is trained on; `mixed(g)` are those of generation g.

    replace: the last mix. accumulate: `sample.count` human rows (the data of before the loop) and every mix so far.
    accumulate-subsample: as many rows as replace has, drawn from that pool (arXiv 2404.01413, 2410.16713).
    """
    if recipe.mix.pool == "replace":
        return mixed(last)
    pool = original()
    for generation in range(last + 1):
        pool += mixed(generation)
    if recipe.mix.pool == "accumulate":
        return pool
    rng = generator(recipe.seed, "subsample", last)
    return rng.sample(pool, min(len(pool), recipe.sample.count))


def needed_corpora(recipe: Recipe, generation: int) -> list[int]:
    """Which corpora `pool_rows` wants in order to train model `generation`."""
    return [generation - 1] if recipe.mix.pool == "replace" else list(range(generation))


class TrainingOrder(Sequence[AnyRow]):
    """Rows as they are seen: `epochs` permutations one after the other, batches of similar length, the last epoch cut.

    The number is known at once. A row is decided when it is asked for: those that are still being written are waited for
    when a batch may hold them, not before.
    """

    def __init__(self, rows: Sequence[AnyRow], recipe: Recipe, seed: int) -> None:
        self._length = max(1, round(recipe.train.epochs * len(rows))) if rows else 0
        self._decided: list[AnyRow] = []
        self._batches = (
            batch for epoch in range(math.ceil(recipe.train.epochs)) for batch in _epoch(rows, recipe, seed, epoch)
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        places = range(len(self))[place]
        furthest = max(places, default=-1) if isinstance(places, range) else places
        while len(self._decided) <= furthest:
            self._decided += next(self._batches)
        return [self._decided[one] for one in places] if isinstance(places, range) else self._decided[places]


def _epoch(rows: Sequence[AnyRow], recipe: Recipe, seed: int, epoch: int) -> Iterator[list[AnyRow]]:
    """The batches of one epoch. Rows are shuffled, and then sorted by length within buckets, whose batches are shuffled."""
    size = recipe.train.batch_size
    rng = generator(seed, "order", epoch)
    shuffled = rng.sample(rows, len(rows))
    if epoch == 0:
        shuffled = _newest_in_order(shuffled)
    for start in range(0, len(shuffled), size * BUCKET_BATCHES):
        bucket = sorted(shuffled[start : start + size * BUCKET_BATCHES], key=lambda row: len(row.token_ids))
        batches = [bucket[first : first + size] for first in range(0, len(bucket), size)]
        # A short batch stays last, so that every optimizer step but one has the full batch size.
        full, short = [one for one in batches if len(one) == size], [one for one in batches if len(one) < size]
        rng.shuffle(full)
        yield from full + short


def _newest_in_order(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """`rows` with those of the newest corpus in its order, in the places that they have together."""
    newest = iter(sorted((row for row in rows if row.newest is not None), key=lambda row: row.newest or 0))
    return [row if row.newest is None else next(newest) for row in rows]


def written_row(
    start: list[int], sample: Sample | LateSample, recipe: Recipe, newest: int | None = None
) -> TrainingRow:
    """A sample as it is trained on, behind the `start` of a document."""
    row = _row(start, sample.prompt_ids, sample.token_ids, recipe)
    return replace(row, newest=newest, synthetic=True)


def _row(start: list[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> TrainingRow:
    if recipe.train.loss_on == "continuation":
        return TrainingRow([*start, *document_ids(start, prompt, continuation, recipe)], len(start))
    return TrainingRow([*prompt, *continuation], len(prompt) if recipe.train.loss_on == "completion" else 1)
