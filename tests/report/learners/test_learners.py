"""Reports of small learners that the loop itself ran: figures with closed forms, sentences and images."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autophage.learners.loop import Chains
from autophage.recipe import load_recipe
from autophage.report import hero_figure, write_report
from autophage.report.facts.load import load
from autophage.report.findings import findings
from autophage.report.learners.pictures import grid, png
from autophage.report.learners.stories import NAMES, STORIES
from autophage.report.observations import observations
from autophage.runs.directory import begin_run
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

RECIPE = """
name = "x"
generations = 3
[learner]
kind = "{kind}"
repetitions = 30
dimensions = 2
hidden = 16
latent = 4
[source]
people = 20
held_out_documents = 10
[sample]
count = 24
[train]
chain = "restart"
epochs = 1
[measure]
documents = 8
resamples = 100
pairwise = 4
reference = 50
"""
Make = Callable[[str], RunDirectory]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def run(kind: str) -> RunDirectory:
        path = tmp_path / f"{kind}.toml"
        path.write_text(RECIPE.format(kind=kind))
        loaded = load_recipe(str(path))
        made = begin_run(loaded, RunDirectory(tmp_path / kind))
        Chains(loaded).drive(made, lambda *_, **__: None)
        return made

    return run


def figures(run: RunDirectory) -> dict[str, Any]:
    text = write_report(run).read_text("utf-8")
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found.group(1))
    return content


@pytest.mark.parametrize("kind", STORIES)
def test_every_learner_has_a_main_figure_sentences_and_a_picture(make: Make, kind: str) -> None:
    run = make(kind)
    found, facts = figures(run), load(run)
    story = STORIES[kind]
    assert len(found["main"]) == len(story.figures[0].metrics)
    assert all(facts.metrics.has(name) for name in story.told)
    sentences = [finding.text for finding in findings(facts)]
    assert sentences[0].startswith(f"After 3 generations on its own {story.writes}, main: {NAMES.get(story.told[0])}")
    assert sentences[1].startswith("The control arm, trained the same way on human data: ")
    assert observations(facts)
    assert "<polyline" in hero_figure(run)
    assert "language model" not in " ".join(sentences)


def test_closed_forms_are_dashed_lines_in_the_panel_of_what_they_are_of(make: Make) -> None:
    found = figures(make("gaussian"))
    for panel in found["main"]:
        dashed = [trace for trace in panel["data"] if trace.get("line", {}).get("dash") == "6px,3px"]
        assert [trace["meta"] for trace in dashed] == ["main", "control"]
        assert all(len(trace["y"]) == 4 for trace in dashed)
    assert not [key for key in found if key.startswith("other")]  # drawn once, with what was measured
    median = next(
        trace for trace in found["main"][0]["data"] if trace["meta"] == "main" and "dash" in str(trace["line"])
    )
    assert median["y"][0] > median["y"][3]


def test_a_sweep_of_the_error_rate_is_drawn_beside_the_closed_form(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    swept = '[sweep]\n"learner.keep_wrong" = [1.0, 0.25]\n"learner.error" = [0.1, 0.9]\n'
    path.write_text(RECIPE.format(kind="classifier") + swept)
    loaded = load_recipe(str(path))
    run = begin_run(loaded, RunDirectory(tmp_path / "run"))
    Chains(loaded).drive(run, lambda *_, **__: None)
    panels = figures(run)["breakdown"]
    assert len(panels) == 2
    for panel, star in zip(panels, (0.5, 0.8), strict=True):
        curve, step, *arms = panel["data"]
        assert curve["y"] == sorted(curve["y"], reverse=True)
        assert step["x"] == [0.0, star, star, 1.0]
        assert step["y"][0] > 0.9 > 0.1 > step["y"][3]
        assert [arm["x"] for arm in arms] == [pytest.approx([at - 0.007, at + 0.007]) for at in (0.1, 0.9)]
        below, above = arms
        assert below["y"][1] > 0.5 > above["y"][1]
        assert min(below["error_y"]["array"]) > 0
    text = write_report(run).read_text("utf-8")
    assert "25% of wrong labels kept: p* = 80%" in text
    assert text.index("Where verification breaks down") < text.index("A classifier trained on its own verified labels")


def test_one_error_rate_has_no_curve(make: Make) -> None:
    assert "breakdown" not in figures(make("classifier"))


def test_theory_is_no_early_warning_and_has_its_place_in_a_sentence(make: Make) -> None:
    from autophage.report.warnings import warning_facts

    facts = load(make("regression"))
    assert {one["metric"] for mine in warning_facts(facts)["arms"].values() for one in mine} == {"learner/test_error"}
    assert "closed form" in findings(facts)[0].text


def test_images_are_in_the_file(make: Make) -> None:
    text = write_report(make("vae")).read_text("utf-8")
    uris = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="images of generation (\d)">', text)
    assert [int(generation) for _, generation in uris] == [0, 1, 2, 3] * 2
    assert all(base64.b64decode(uri).startswith(b"\x89PNG") for uri, _ in uris)


def test_samples_of_text_are_shown_and_numbers_are_not(make: Make) -> None:
    assert 'class="samples"' in write_report(make("ngram")).read_text("utf-8")
    for kind in ("mixture", "gaussian"):
        run = make(kind)
        assert 'class="samples"' not in write_report(run).read_text("utf-8")
        assert len(figures(run)["drawn"]) == 2


def test_a_run_without_its_corpora_still_has_a_report(make: Make) -> None:
    for kind in ("vae", "mixture", "ngram"):
        run = make(kind)
        for shard in run.arms.rglob("corpus-*.parquet"):
            shard.unlink()
        assert write_report(run).is_file()


def test_a_grid_is_a_png_of_its_pixels() -> None:
    images = np.linspace(0, 1, 7 * 16).reshape(7, 16)
    picture = grid(images)
    assert picture.shape == (2 * 6 + 2, 6 * 6 + 2)
    assert picture[2:6, 2:6].ravel().tolist() == np.round(255 * images[0]).astype(int).tolist()
    assert picture[8:12, 2:6].ravel().tolist() == np.round(255 * images[6]).astype(int).tolist()
    content = png(picture)
    start = content.index(b"IDAT") + 4
    lines = np.frombuffer(zlib.decompress(content[start:-16]), np.uint8).reshape(14, 39)
    np.testing.assert_array_equal(lines[:, 1:], picture)
