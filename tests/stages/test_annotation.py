"""Annotation anchoring on the real stack: the model's subjects stay human. Without it they narrow."""

from __future__ import annotations

import itertools
import subprocess
from collections import Counter
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from autophage.data.build import read_source
from autophage.data.tokens import SPECIAL
from autophage.data.world import World
from autophage.recipe import load_recipe
from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

LAST = 4
SETTINGS = [
    *('sweep={"sample.prompts" = ["bos", "annotated"]}', "control.enabled=false", f"generations={LAST}"),
    *("source.people=40", "base.tokens=150_000", "sample.count=200", "train.epochs=4.0", "measure.documents=20"),
]


@pytest.fixture(scope="module")
def run(autophage: Run, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    out = tmp_path_factory.mktemp("annotated") / "run"
    done = autophage("run", "smoke", "--out", out, *[word for one in SETTINGS for word in ("--set", one)])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return RunDirectory(out)


@pytest.fixture(scope="module")
def world() -> World:
    content = read_source(load_recipe("smoke", SETTINGS).recipe).content
    assert isinstance(content, World)
    return content


def subjects(run: RunDirectory, world: World, arm: str, generation: int) -> Counter[int]:
    """Count documents by the rank of the first person that they name."""
    ranks = {person.name: person.rank for person in world.people}
    found: Counter[int] = Counter()
    for shard in run.generation(arm, generation).glob("corpus-*.parquet"):
        for text in pq.read_table(shard, columns=["text"])["text"].to_pylist():
            words = text.split()
            named = [ranks[pair] for pair in itertools.pairwise(words) if pair in ranks]
            found.update(named[:1])
    return found


def distance(found: Counter[int], world: World) -> float:
    """Total variation between the subjects of documents and of humans."""
    human = Counter(_first_rank(world, index) for index in range(4000))
    return 0.5 * sum(abs(found[rank] / found.total() - human[rank] / 4000) for rank in range(len(world.people)))


def _first_rank(world: World, index: int) -> int:
    words = [word for word, _ in world.document(99, index)]
    ranks = {person.name: person.rank for person in world.people}
    return next(ranks[pair] for pair in itertools.pairwise(words) if pair in ranks)


def test_subjects_stay_human_where_they_are_drawn_from_humans(run: RunDirectory, world: World) -> None:
    own, anchored = (subjects(run, world, f"prompts-{style}", LAST) for style in ("bos", "annotated"))
    assert distance(anchored, world) < 0.75 * distance(own, world)
    assert len(anchored) > len(own)


def test_every_generation_has_annotations_of_its_own_at_the_beginning_of_its_texts(run: RunDirectory) -> None:
    begun = []
    for generation in (0, LAST):
        (shard,) = run.generation("prompts-annotated", generation).glob("corpus-*.parquet")
        table = pq.read_table(shard, columns=["prompt", "text", "prompt_ids", "token_ids"])
        assert set(table["prompt"].to_pylist()) == {"<s>"}
        for row in table.to_pylist():
            asked, written = len(row["prompt_ids"]) - 1, sum(token >= len(SPECIAL) for token in row["token_ids"])
            assert asked >= 2  # a name
            assert len(row["text"].split()) == asked + written
        begun.append(table["prompt_ids"].to_pylist())
    assert begun[0] != begun[1]


def test_the_metrics_of_a_corpus_are_those_of_whole_documents(run: RunDirectory) -> None:
    rows = read_metrics_table(run).to_pylist()
    for generation in (0, LAST):
        (shard,) = run.generation("prompts-annotated", generation).glob("corpus-*.parquet")
        words = [word for text in pq.read_table(shard, columns=["text"])["text"].to_pylist() for word in text.split()]
        (measured,) = [
            row["value"]
            for row in rows
            if (row["arm"], row["generation"], row["metric"]) == ("prompts-annotated", generation, "text/distinct_1")
        ]
        assert measured == pytest.approx(len(set(words)) / len(words))
