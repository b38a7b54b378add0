from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autophage.data.late import LateCorpus
from autophage.data.mix import AnyRow, TrainingOrder, TrainingRow, needed_corpora, pool_rows, prompt_ids
from autophage.data.tokens import word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.train import TrainTable
from autophage.store import corpus

COUNT = 20


@pytest.fixture(scope="module")
def source() -> WorldSource:
    world = World(people=20, zipf=0.8, seed=0, held_out=5)
    return WorldSource(world, word_tokenizer(world.vocabulary))


def recipe(**tables: object) -> Recipe:
    return Recipe(name="t", sample=SampleTable(count=COUNT), **tables)  # type: ignore[arg-type]


def samples(generation: int, accepted: int = COUNT) -> list[corpus.Sample]:
    values = np.zeros(3, dtype=np.float32)
    return [
        corpus.Sample(
            f"{generation}-{i}",
            "",
            "",
            [1],
            [1000 + generation, i, 2],
            "stop",
            0,
            values,
            values,
            values,
            values,
            values,
            i < accepted,
        )
        for i in range(COUNT)
    ]


def synthetic(rows: Sequence[AnyRow], generation: int | None = None) -> int:
    return sum(row.token_ids[1] >= 1000 and generation in (None, row.token_ids[1] - 1000) for row in rows)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 0), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_alpha_is_the_synthetic_share(source: WorldSource, alpha: float, expected: int) -> None:
    rows = pool_rows(source, recipe(mix=MixTable(alpha=alpha)), {0: samples(0)})
    assert (len(rows), synthetic(rows)) == (COUNT, expected)


def test_rows_know_who_wrote_them(source: WorldSource) -> None:
    rows = pool_rows(source, recipe(mix=MixTable(alpha=0.5, pool="accumulate")), {g: samples(g) for g in range(2)})
    assert [row.synthetic for row in rows] == [row.token_ids[1] >= 1000 for row in rows]
    assert sum(row.synthetic for row in rows) == COUNT


def test_every_mix_has_the_fraction_of_its_generation(source: WorldSource) -> None:
    corpora = {g: samples(g) for g in range(3)}
    decay = recipe(generations=3, mix=MixTable(alpha=0.0, schedule="decay", pool="accumulate"))
    assert [synthetic(pool_rows(source, decay, corpora), g) for g in range(3)] == [0, COUNT // 2, COUNT]
    last = recipe(generations=3, mix=MixTable(schedule="last-chance"))
    assert [synthetic(pool_rows(source, last, {g: samples(g)})) for g in range(3)] == [COUNT, COUNT, 0]


def test_rejected_samples_are_never_trained_on(source: WorldSource) -> None:
    rows = pool_rows(source, recipe(mix=MixTable(alpha=1.0)), {0: samples(0, accepted=7)})
    assert len(rows) == synthetic(rows) == 7


@pytest.mark.parametrize(
    ("short", "alpha", "accepted", "rows", "synthetic_rows"),
    [
        ("fewer", 1.0, 7, 7, 7), ("repeat", 1.0, 7, 20, 20), ("human", 1.0, 7, 20, 7),
        ("fewer", 0.5, 7, 17, 7), ("repeat", 0.5, 7, 20, 10), ("human", 0.5, 7, 20, 7),
        ("fewer", 0.5, 15, 20, 10), ("repeat", 0.5, 15, 20, 10), ("human", 0.5, 15, 20, 10),
        ("fewer", 1.0, 0, 0, 0), ("repeat", 1.0, 0, 0, 0), ("human", 1.0, 0, 20, 0),
    ],
)  # fmt: skip
def test_what_takes_the_place_of_samples_that_gates_rejected(
    source: WorldSource, short: str, alpha: float, accepted: int, rows: int, synthetic_rows: int
) -> None:
    told = recipe(mix=MixTable(alpha=alpha, short=short))  # type: ignore[arg-type]
    found = pool_rows(source, told, {0: samples(0, accepted=accepted)})
    assert (len(found), synthetic(found)) == (rows, synthetic_rows)
    plain = pool_rows(source, recipe(mix=MixTable(alpha=alpha)), {0: samples(0)})
    humans = [[row.token_ids for row in many if row.token_ids[1] < 1000] for many in (found, plain)]
    assert humans[0][: len(humans[1])] == humans[1]  # those that the mix has in any case come first


def test_repeated_rows_go_round_in_order(source: WorldSource) -> None:
    rows = pool_rows(source, recipe(mix=MixTable(short="repeat")), {0: samples(0, accepted=3)})
    assert [row.token_ids[2] for row in rows] == [place % 3 for place in range(COUNT)]


def test_rows_have_the_weights_of_their_samples(source: WorldSource) -> None:
    weighted = samples(0)
    weighted[3].weight = 2.5
    rows = pool_rows(source, recipe(mix=MixTable(alpha=0.5)), {0: weighted})
    assert [row.weight for row in rows] == [1.0] * 3 + [2.5] + [1.0] * 16


def test_more_is_written_than_a_mix_takes(source: WorldSource) -> None:
    told = Recipe(name="t", sample=SampleTable(count=10, oversample=2.5))
    assert len(prompt_ids(source, told, 0)) == told.sample.written == 25
    rows = pool_rows(source, told, {0: [one for one in samples(0) if one.accepted]})
    assert [row.token_ids[2] for row in rows] == list(range(10))


def test_pools(source: WorldSource) -> None:
    corpora = {g: samples(g) for g in range(3)}
    kept = pool_rows(source, recipe(mix=MixTable(pool="accumulate")), corpora)
    assert len(kept) == 4 * COUNT
    assert [synthetic(kept, g) for g in range(3)] == [COUNT] * 3
    drawn = pool_rows(source, recipe(mix=MixTable(pool="accumulate-subsample")), corpora)
    assert len(drawn) == COUNT
    assert 0 < synthetic(drawn) < COUNT
    assert needed_corpora(recipe(mix=MixTable(pool="accumulate")), 3) == [0, 1, 2]
    assert needed_corpora(recipe(), 3) == [2]


def test_human_data_fixed_or_fresh(source: WorldSource) -> None:
    for human, same in (("fixed", True), ("fresh", False)):
        told = recipe(mix=MixTable(alpha=0.0, human=human))  # type: ignore[arg-type]
        first, second = (pool_rows(source, told, {g: samples(g)}) for g in (0, 1))
        assert (first == second) is same


def test_prompts_fixed_or_fresh(source: WorldSource) -> None:
    assert prompt_ids(source, recipe(), 0) == [source.start_ids] * COUNT


def test_a_world_sample_trains_whole_whatever_the_loss_is_on(source: WorldSource) -> None:
    rows = [
        pool_rows(source, recipe(train=TrainTable(loss_on=loss_on)), {0: samples(0)})
        for loss_on in ("continuation", "completion", "all")
    ]
    assert rows[0] == rows[1] == rows[2]


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=90),
    epochs=st.sampled_from([0.5, 1.0, 2.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_seen_once_an_epoch(lengths: list[int], epochs: float, seed: int) -> None:
    rows = [TrainingRow([index, *[0] * length], 1) for index, length in enumerate(lengths)]
    told = recipe(train=TrainTable(epochs=epochs, batch_size=4))
    order = list(TrainingOrder(rows, told, seed))
    assert len(order) == len(TrainingOrder(rows, told, seed)) == max(1, round(epochs * len(rows)))
    for epoch in range(int(epochs)):
        seen = order[epoch * len(rows) : (epoch + 1) * len(rows)]
        assert sorted(row.token_ids[0] for row in seen) == list(range(len(rows)))
    assert order == list(TrainingOrder(rows, told, seed))


def test_batches_hold_rows_of_similar_length() -> None:
    rng = np.random.default_rng(0)
    rows = [TrainingRow([0] * int(n), 1) for n in rng.integers(2, 60, size=512)]
    order = list(TrainingOrder(rows, recipe(train=TrainTable(epochs=1.0, batch_size=8)), 1))
    padded = sum(8 * max(len(row.token_ids) for row in order[i : i + 8]) for i in range(0, 512, 8))
    unsorted = sum(8 * max(len(row.token_ids) for row in rows[i : i + 8]) for i in range(0, 512, 8))
    real = sum(len(row.token_ids) for row in rows)
    assert padded / real < 1.15 < unsorted / real


def test_nothing_to_train_on_is_no_error() -> None:
    assert list(TrainingOrder([], recipe(), 1)) == []


class OnDemand(LateCorpus):
    """Records the order in which samples are read."""

    def __init__(self, written: list[corpus.Sample]) -> None:
        super().__init__([sample.prompt_ids for sample in written])
        self.written = written
        self.asked: list[int] = []

    def tokens(self, place: int) -> list[int]:
        self.asked.append(place)
        return self.written[place].token_ids


@pytest.mark.parametrize("pool", ["replace", "accumulate", "accumulate-subsample"])
def test_training_can_begin_before_the_newest_corpus_is_written(source: WorldSource, pool: str) -> None:
    """The rows and their order are equal. A bucket waits only for its own samples, in corpus order."""
    told = recipe(mix=MixTable(alpha=1.0, pool=pool), train=TrainTable(epochs=2.0, batch_size=1))  # type: ignore[arg-type]
    old, new = samples(0), samples(1)

    def seen(corpora: dict[int, list[corpus.Sample]] | dict[int, Any]) -> Iterator[tuple[list[int], int, bool]]:
        return (
            (row.token_ids, row.context, row.synthetic)
            for row in TrainingOrder(pool_rows(source, told, corpora), told, 5)
        )

    late = OnDemand(new)
    order = seen({0: old, 1: late})
    assert late.asked == []
    first = next(order)
    before = set(late.asked)
    assert before == set(range(len(before))) or pool == "accumulate-subsample"
    assert len(before) < COUNT
    assert [first, *order] == list(seen({0: old, 1: new}))


def test_a_late_sample_is_waited_for() -> None:
    late = LateCorpus([[1]] * 3)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(lambda: [sample.token_ids for sample in late])
        late.put({2: [7], 1: [6]})
        with pytest.raises(TimeoutError):
            reading.result(timeout=0.2)
        late.put({0: [5], 1: [9]})
        assert reading.result(timeout=10) == [[5], [6], [7]]


@pytest.mark.parametrize(
    ("short", "expected"),
    [("fewer", [COUNT, 13, 3]), ("repeat", [COUNT, COUNT, COUNT]), ("human", [COUNT, COUNT, COUNT])],
)
def test_what_gates_leave_fills_each_mix_of_a_schedule(source: WorldSource, short: str, expected: list[int]) -> None:
    mix = MixTable.model_validate({"alpha": 0.0, "schedule": "decay", "short": short})
    told = recipe(generations=3, mix=mix)
    mixes = [pool_rows(source, told, {g: samples(g, accepted=3)}) for g in range(3)]
    assert [len(rows) for rows in mixes] == expected
    assert [synthetic(rows) for rows in mixes] == ([0, COUNT // 2, COUNT] if short == "repeat" else [0, 3, 3])
