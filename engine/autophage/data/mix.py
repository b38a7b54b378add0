"""The training corpus of model g+1: pool of generations, synthetic fraction, order of rows.

Results are functions of the recipe, the samples and the human items. A training row is a document as token ids with a
loss mask. A seed fixes the order of rows, and arrival never does. In the first epoch the newest samples keep the
order of their prompts. All other rows are inserted at random. The samples are exchangeable, so this order is as
random as any. Training can therefore begin before the last sample is written (`late`).
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
"""Number of batches that are sorted by length together.

More would order the corpus by length. Fewer would pad more.
"""


@dataclass(frozen=True)
class TrainingRow:
    """One training document as token ids.

    Attributes:
        context: Number of leading tokens that carry no loss.
        newest: Index of the row among the samples of the newest corpus, from 0. None for all other rows.
        synthetic: True if a model wrote the tokens after the context.
        weight: Factor of the row's tokens in the loss.
    """

    token_ids: list[int]
    context: int
    newest: int | None = None
    synthetic: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class LateRow:
    """A training document whose sample may not be written yet.

    Reading its tokens blocks until they exist. Otherwise it has the attributes of a `TrainingRow`.
    """

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
    """Return `count` human documents to train model `generation` + 1 on, beside the samples.

    Recipes with equal seeds get the same documents.
    """
    return source.items(human_draw(recipe, generation), count, recipe.mix.rare)


def human_draw(recipe: Recipe, generation: int) -> int:
    """Return the seed that draws the human part of the training data of model `generation` + 1."""
    path = ("human", generation) if recipe.mix.human == "fresh" else ("human",)
    return derive(recipe.seed, *path)


def original_draw(recipe: Recipe) -> int:
    """Return the seed that draws the human documents from before the loop, for pools that accumulate."""
    return derive(recipe.seed, "original")


def synthetic_count(recipe: Recipe, generation: int) -> int:
    """Return the number of synthetic documents wanted in the mix of corpus `generation` with human data."""
    return round(alpha_of(recipe, generation) * recipe.sample.count)


def prompt_ids(source: Source, recipe: Recipe, generation: int) -> list[list[int]]:
    """Return the prompts of corpus `generation` as token ids, one for each document to be sampled."""
    path = ("prompts", generation) if recipe.sample.prompt_set == "fresh" else ("prompts",)
    return source.prompts(derive(recipe.seed, *path), recipe.sample.written)


def mixed_rows(
    source: Source, recipe: Recipe, generation: int, samples: AnySamples, *, newest: bool = False
) -> list[AnyRow]:
    """Return training rows that mix the `samples` of corpus `generation` with human documents.

    The mix aims at `sample.count` rows, of which the fraction alpha is synthetic. Synthetic rows come first. They are
    the first accepted samples. `mix.short` decides if too few are accepted. The mix is then shorter, repeats the
    accepted samples in order, or takes further human rows. A corpus without accepted samples repeats nothing. `newest`
    marks the synthetic rows as those of the newest corpus.
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
    """Return all training rows of the next model, pooled over generations as `mix.pool` says.

    `corpora` maps generations to their samples. The next model follows the last of these generations.
    """
    last = max(corpora)

    def original() -> list[AnyRow]:
        items = source.items(original_draw(recipe), recipe.sample.count, recipe.mix.rare)
        return [_row(source.start_ids, item.prompt_ids, item.continuation_ids, recipe) for item in items]

    def mixed(generation: int) -> list[AnyRow]:
        return mixed_rows(source, recipe, generation, corpora[generation], newest=generation == last)

    return pooled(recipe, last, original, mixed)


def pooled(recipe: Recipe, last: int, original: Callable[[], list[T]], mixed: Callable[[int], list[T]]) -> list[T]:
    """Return the rows that the model after generation `last` is trained on. Rows may be of any type.

    `original()` returns the human rows from before the loop. `mixed(g)` returns the rows of generation g. The pools
    are those of arXiv 2404.01413 and 2410.16713:

    - replace: the last mix.
    - accumulate: `sample.count` human rows from before the loop, then every mix so far.
    - accumulate-subsample: a random part of that pool, as long as the pool of replace.
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
    """Return the generations whose corpora model `generation` is trained on.

    They are the previous one under `mix.pool = "replace"`, and all previous ones otherwise.
    """
    return [generation - 1] if recipe.mix.pool == "replace" else list(range(generation))


class TrainingOrder(Sequence[AnyRow]):
    """A sequence of training rows in the order of training.

    Each epoch is a permutation of `rows` in batches of similar length. The last epoch may be cut, since
    `train.epochs` need not be whole. The length is known at once. A row is chosen when it is read. Rows that are
    still being written are therefore waited for as late as possible.
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
    """Yield the batches of rows of one epoch, in the order of training.

    Rows are shuffled and cut into buckets of `BUCKET_BATCHES` batches. A bucket is sorted by length. Its full batches
    are then shuffled, and a short batch comes last.
    """
    size = recipe.train.batch_size
    rng = generator(seed, "order", epoch)
    shuffled = rng.sample(rows, len(rows))
    if epoch == 0:
        shuffled = _newest_in_order(shuffled)
    for start in range(0, len(shuffled), size * BUCKET_BATCHES):
        bucket = sorted(shuffled[start : start + size * BUCKET_BATCHES], key=lambda row: len(row.token_ids))
        batches = [bucket[first : first + size] for first in range(0, len(bucket), size)]
        # The short batch comes last: all other optimizer steps then have the full batch size.
        full, short = [one for one in batches if len(one) == size], [one for one in batches if len(one) < size]
        rng.shuffle(full)
        yield from full + short


def _newest_in_order(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return `rows` with the samples of the newest corpus put in corpus order. All other rows keep their places."""
    newest = iter(sorted((row for row in rows if row.newest is not None), key=lambda row: row.newest or 0))
    return [row if row.newest is None else next(newest) for row in rows]


def written_row(
    start: list[int], sample: Sample | LateSample, recipe: Recipe, newest: int | None = None
) -> TrainingRow:
    """Return the training row of a sample. A document opens with the token ids `start`.

    `newest` is the index of the sample in the newest corpus, None for earlier corpora.
    """
    row = _row(start, sample.prompt_ids, sample.token_ids, recipe)
    return replace(row, newest=newest, synthetic=True)


def _row(start: list[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> TrainingRow:
    if recipe.train.loss_on == "continuation":
        return TrainingRow([*start, *document_ids(start, prompt, continuation, recipe)], len(start))
    return TrainingRow([*prompt, *continuation], len(prompt) if recipe.train.loss_on == "completion" else 1)
