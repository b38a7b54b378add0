"""Equality of runs by hashes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.report.comparison.conftest import MakeNamed

from autophage.report.comparison.gather import arms_apart, compare, verdict_line
from autophage.report.comparison.sameness import DIFFERENT, NOTHING, SAME, SO_FAR
from autophage.store.atomic import write_text
from autophage.store.manifest import (
    INDENT,
    MANIFEST,
    Metric,
    describe_files,
    read_metrics,
    write_metrics,
)
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed


def alter(run: RunDirectory, arm: str, generation: int, **weights: object) -> None:
    """Write the manifest of a generation anew after its files were altered."""
    folder = run.generation(arm, generation)
    content = unsealed(folder / MANIFEST, INDENT)
    content["files"] = describe_files(folder)
    content["weights"] |= weights
    write_text(folder / MANIFEST, sealed(content, INDENT))


def alter_corpus(run: RunDirectory) -> None:
    path = run.generation("main", 1) / "corpus-00000.parquet"
    table = pq.read_table(path)
    weights = np.arange(len(table), dtype=np.float32)
    pq.write_table(table.set_column(table.schema.get_field_index("weight"), "weight", [weights]), path)
    alter(run, "main", 1)


def alter_weights(run: RunDirectory) -> None:
    alter(run, "main", 1, digest="beef" * 16)


def alter_metrics(run: RunDirectory) -> None:
    folder = run.generation("main", 1)
    write_metrics(folder, [*read_metrics(folder), Metric("onpolicy/mirth", 1.0)])
    alter(run, "main", 1)


def alter_speed(run: RunDirectory) -> None:
    folder = run.generation("main", 1)
    write_metrics(folder, [*read_metrics(folder), Metric("speed/coffee_seconds", 1.0)])
    alter(run, "main", 1)


def alter_bytes(run: RunDirectory) -> None:
    path = run.generation("main", 1) / "corpus-00000.parquet"
    pq.write_table(pq.read_table(path), path, compression="gzip")
    alter(run, "main", 1)


def test_a_run_is_the_same_as_itself(make_named: MakeNamed) -> None:
    run = make_named("a")
    (found,) = compare([run, run]).same
    assert (found.verdict, found.compared) == (SAME, 6)
    assert verdict_line(found) == (
        "B: the same run as A. 6 generations with equal corpora, weights and metrics (but for speed)."
    )


@pytest.mark.parametrize(
    ("change", "part"), [(alter_corpus, "corpus"), (alter_weights, "weights"), (alter_metrics, "metrics")]
)
def test_any_part_that_differs_is_named_with_its_place(
    make_named: MakeNamed, change: Callable[[RunDirectory], None], part: str
) -> None:
    first, other = make_named("a"), make_named("b")
    change(other)
    (found,) = compare([first, other]).same
    assert found.verdict == DIFFERENT
    assert found.parts == {"main": [(), (part,), ()], "control": [(), (), ()]}
    assert found.sentences == [f"main differs from generation 1 on: {part}", "5 of 6 generations equal"]


@pytest.mark.parametrize("change", [alter_speed, alter_bytes])
def test_speed_and_the_bytes_of_equal_rows_do_not_count(
    make_named: MakeNamed, change: Callable[[RunDirectory], None]
) -> None:
    first, other = make_named("a"), make_named("b")
    change(other)
    assert [one.verdict for one in compare([first, other]).same] == [SAME]


def test_other_bytes_without_their_file_are_a_difference(make_named: MakeNamed) -> None:
    first, other = make_named("a"), make_named("b")
    alter_bytes(other)
    (other.generation("main", 1) / "corpus-00000.parquet").unlink()
    assert [one.verdict for one in compare([first, other]).same] == [DIFFERENT]


def test_a_shorter_run_is_the_same_so_far(make_named: MakeNamed) -> None:
    compared = compare([make_named("a"), make_named("b", reached={"main": 0})])
    (found,) = compared.same
    assert (found.verdict, found.compared) == (SO_FAR, 4)
    assert "main: the last generation is 2 in A and 0 in B" in found.sentences
    assert not compared.all_same


def test_a_run_without_its_control_is_not_the_same(make_named: MakeNamed) -> None:
    from tests.report.comparison.conftest import ONE_ARM

    alone = make_named("b", recipe=ONE_ARM + "\n[control]\nenabled = false\n")
    (found,) = compare([make_named("a"), alone]).same
    assert found.verdict == SO_FAR
    assert "only A has the arm control" in found.sentences


def test_runs_without_generations_have_nothing_to_compare(make_named: MakeNamed) -> None:
    empty = make_named("b", reached={"main": -1, "control": -1}, ended=False)
    compared = compare([make_named("a"), empty])
    assert [one.verdict for one in compared.same] == [NOTHING]
    assert compared.differences == []
    assert arms_apart(compared.runs) == ["without a generation in both A and B: main, control"]
