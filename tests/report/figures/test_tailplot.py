"""The tail plot is a histogram of the corpora. It is absent if they lack the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autophage.report.facts.load import load
from autophage.report.figures.colours import styles
from autophage.report.figures.tailplot import outline, tail_figure
from autophage.store.corpus import read_corpus, read_samples
from autophage.store.manifest import describe_files, read_manifest, write_manifest
from autophage.store.rundir import RunDirectory

MakeRun = Callable[..., RunDirectory]


def figures(run: RunDirectory) -> list[Any]:
    facts = load(run)
    return tail_figure(run, facts, styles([(arm.name, arm.control) for arm in facts.arms]))


def test_shares_of_samples_in_bins_of_the_logarithm() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    heights = outline(np.array([2.0, 5.0, 50.0, 1e9]), edges)
    assert heights.tolist() == [0.5, 0.5, 0.0]


def test_a_panel_per_arm_and_an_outline_per_generation(world_run: RunDirectory) -> None:
    (figure,) = figures(world_run)
    assert [panel.title for panel in figure.panels] == ["alpha-1.0", "alpha-0.5", "control"]
    for panel in figure.panels:
        assert len(panel.traces) == 4
        assert panel.traces[0]["x"] == figure.panels[0].traces[0]["x"]
        for trace in panel.traces:
            assert sum(trace["y"]) == pytest.approx(1.0, abs=1e-3)
        assert "lies above the 99th percentile of generation 0" in panel.note


def test_corpora_without_perplexities_have_no_tail_plot(world_run: RunDirectory) -> None:
    for shard in world_run.arms.rglob("corpus-*.parquet"):
        table = pq.read_table(shard)
        place, column = table.column_names.index("ppl_under_base"), table.schema.field("ppl_under_base")
        pq.write_table(table.set_column(place, column, pa.nulls(len(table), column.type)), shard)
        manifest = read_manifest(shard.parent)
        assert manifest is not None
        write_manifest(shard.parent, replace(manifest, files=describe_files(shard.parent)))
    assert read_samples([shard])[0].ppl_under_base is None
    assert read_corpus([shard], ["ppl_under_base"]).column(0).null_count > 0
    assert figures(world_run) == []


def test_few_samples_are_no_histogram(make_run: MakeRun) -> None:
    assert figures(make_run(samples=5)) == []
