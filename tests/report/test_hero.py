"""The picture is SVG without scripts or references. It shows every arm, even with little data."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.report import hero_figure
from autophage.store.metrics_table import SCHEMA, read_metrics_table
from autophage.store.rundir import RunDirectory

MakeRun = Callable[..., RunDirectory]
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_two_panels_with_a_line_per_arm_and_bands(world_run: RunDirectory) -> None:
    svg = hero_figure(world_run)
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter(f"{SVG}polyline"))) == 6
    assert len(list(root.iter(f"{SVG}polygon"))) == 6
    assert {"Accuracy, torso questions", "Perplexity of form", "alpha-1.0", "alpha-0.5", "control"} <= set(texts(svg))
    assert "prefers-color-scheme:dark" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_labels_of_lines_that_end_together_do_not_overlap(world_run: RunDirectory) -> None:
    root = ElementTree.fromstring(hero_figure(world_run))
    labels = sorted(float(e.attrib["y"]) for e in root.iter(f"{SVG}text") if e.attrib.get("font-weight"))
    assert len(labels) == 3
    assert all(below - above >= 16 for above, below in itertools.pairwise(labels))


def test_hostile_names_are_text(world_run: RunDirectory) -> None:
    arm = "<script>\x00&"
    row = {"arm": arm, "metric": "knowledge/accuracy.torso", "value": 0.5, "low": None, "high": None, "n": None}
    rows = [*read_metrics_table(world_run).to_pylist(), row | {"generation": 0}]
    rows.append(row | {"generation": 0, "metric": "fluency/ppl_form", "value": 1.3})
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), world_run.metrics)
    svg = hero_figure(world_run)
    assert "<script>\\x00&" in texts(svg)


def test_a_text_run_shows_perplexity_and_entropy(make_run: MakeRun, text_recipe: str) -> None:
    assert "Perplexity of human text" in texts(hero_figure(make_run(recipe=text_recipe)))


def test_a_run_without_metrics_says_so(make_run: MakeRun) -> None:
    run = make_run(reached=dict.fromkeys(("alpha-1.0", "alpha-0.5", "control"), -1), ended=False)
    assert "nothing has been measured yet" in texts(hero_figure(run))
