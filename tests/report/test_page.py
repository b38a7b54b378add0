"""The page as a file makes no requests, runs only our own scripts, and is written atomically."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autophage.errors import UserError
from autophage.report import write_report
from autophage.store.atomic import TEMPORARY
from autophage.store.lock import RunLock
from autophage.store.metrics_table import SCHEMA, read_metrics_table
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

MakeRun = Callable[..., RunDirectory]

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "nul \x00 escape \x1b[31m override \u202egnp.exe zero \u200b width",
    "",
    "{{ 7 * 7 }} {% raw %}",
    "x" * 4000,
)
LOADING = {"src", "href", "srcset", "poster", "action", "formaction", "xlink:href", "background", "ping"}


class Page(HTMLParser):
    """Elements with attributes, contents of scripts, and all text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.raw = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    @property
    def payload(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.scripts[0])
        return content

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def report(run: RunDirectory) -> Page:
    return Page(write_report(run))


def traces(page: Page) -> list[dict[str, Any]]:
    return [trace for panels in page.payload.values() for panel in panels for trace in panel["data"]]


def test_nothing_is_loaded_from_anywhere(world_run: RunDirectory) -> None:
    page = report(world_run)
    for tag, attributes in page.elements:
        for name in LOADING & attributes.keys():
            assert (attributes[name] or "").startswith(("#", "data:")), (tag, attributes)
    style = re.findall(r"<style>(.*?)</style>", page.raw, re.S)
    assert not re.search(r"url\(|@import|@font-face|https?:", style[0])
    assert page.count("style") == 1


def test_plotly_is_there_once_and_the_file_is_about_five_megabytes(world_run: RunDirectory) -> None:
    page = report(world_run)
    assert page.raw.count("* plotly.js v") == 1
    assert len(page.raw.encode()) < 6_500_000


def test_the_policy_forbids_requests_and_admits_exactly_the_inlined_scripts(world_run: RunDirectory) -> None:
    page = report(world_run)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv")) or ""
    assert "default-src 'none'" in policy
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts[1:]]
    script_rule = next(rule for rule in policy.split(";") if "script-src" in rule)
    assert script_rule.split() == ["script-src", *(f"'sha256-{digest}'" for digest in digests)]


def test_hostile_text_arrives_as_text(make_run: MakeRun) -> None:
    page = report(make_run(texts=HOSTILE))
    assert page.count("script") == 3
    assert page.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_characters_that_cannot_be_seen_are_drawn(make_run: MakeRun) -> None:
    page = report(make_run(texts=HOSTILE))
    assert not re.search("[\x00\x1b\u202e\u200b]", page.raw.replace(page.scripts[1], ""))
    for name in ("x00", "x1b", "u202e", "u200b"):
        assert f"<i>\\{name}</i>" in page.raw


def test_hostile_names_of_arms_and_metrics_neither_run_nor_leave_their_json(world_run: RunDirectory) -> None:
    arm = "</script><script>alert(3)</script><a href=https://example.com>"
    rows = read_metrics_table(world_run).to_pylist()
    for generation in range(3):
        row = {"arm": arm, "generation": generation, "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
        rows += [row | {"metric": name} for name in ("knowledge/accuracy.torso", "fluency/ppl_form", "<b>odd</b>")]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), world_run.metrics)
    page = report(world_run)
    assert page.count("script") == 3
    assert not any((attributes.get("href") or "").startswith("http") for _, attributes in page.elements)
    assert "<" not in page.scripts[0]
    texts = [
        text
        for trace in traces(page)
        for text in [trace.get("name", ""), *(trace.get("text") or []), *(trace.get("hovertext") or [])]
    ]
    assert any("alert(3)" in text for text in texts)
    assert not any("<script" in text or "<a " in text for text in texts)


def test_every_caption_names_the_settings_that_flip_outcomes(world_run: RunDirectory) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", report(world_run).raw, re.S)
    assert len(captions) > 8
    for caption in captions:
        for named in ("chain cumulative", "pool replace", "prompts bos", "temperature 1", "LoRA rank 32", "rate 0.002"):
            assert named in caption


def test_every_metric_is_drawn(world_run: RunDirectory) -> None:
    page = report(world_run)
    rows = read_metrics_table(world_run).to_pylist()
    plots = sum(tag == "div" and a.get("class") == "plot" for tag, a in page.elements)
    assert plots == sum(len(panels) for panels in page.payload.values())
    metrics = {row["metric"] for row in rows if not row["metric"].endswith("_seconds")}
    panels = [panel["layout"] for panels in page.payload.values() for panel in panels]
    lines = sum(layout["hovermode"] == "x unified" and "barmode" not in layout for layout in panels)
    assert lines == len(metrics) + 1  # torso accuracy stands in the main figure and among the buckets


def test_colours_are_the_same_for_an_arm_in_every_figure(world_run: RunDirectory) -> None:
    seen: dict[str, set[str]] = {}
    for key, panels in report(world_run).payload.items():
        for panel in panels if key not in ("stages",) else []:
            for trace in panel["data"]:
                seen.setdefault(trace["meta"], set()).add(trace["line"]["color"].split(":")[0])
    assert seen == {"alpha-1.0": {"--arm0"}, "alpha-0.5": {"--arm1"}, "control": {"--control0"}}


def test_the_two_perplexities_of_the_main_figure_share_one_scale(world_run: RunDirectory) -> None:
    plain = [panel["layout"]["yaxis"] for panel in report(world_run).payload["main"][1:]]
    assert plain[0]["range"] == plain[1]["range"]
    rows = read_metrics_table(world_run).to_pylist()
    for row in rows:
        row["value"] *= 20 if row["metric"] == "fact/ppl" and row["generation"] == 5 else 1
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), world_run.metrics)
    page = report(world_run)
    wide = [panel["layout"]["yaxis"] for panel in page.payload["main"][1:]]
    assert [axis["type"] for axis in wide] == ["log", "log"]
    assert wide[0]["range"] == wide[1]["range"]
    assert "Perplexity of form (log scale)" in page.text


def test_a_text_run_has_its_own_main_figure(make_run: MakeRun, text_recipe: str) -> None:
    page = report(make_run(recipe=text_recipe))
    assert len(page.payload["main"]) == 3
    assert "Perplexity of human text" in page.text
    assert "Knowledge against fluency" not in page.text


def test_an_unfinished_run_is_reported_and_says_how_far_each_arm_is(make_run: MakeRun) -> None:
    run = make_run(reached={"alpha-1.0": 3, "alpha-0.5": 2, "control": 0}, ended=False, failure="<b>sampler</b> died")
    page = report(run)
    assert "alpha-1.0 at 3 of 5, alpha-0.5 at 2 of 5 and control at 0 of 5" in page.text
    assert "Arms have reached different generations" in page.text
    assert "failed, <b>sampler</b> died" in page.text
    with RunLock(run.lock):
        assert "still running" in report(run).text


@pytest.mark.parametrize("last", [-1, 0])
def test_a_run_that_has_hardly_begun_is_reported(make_run: MakeRun, last: int) -> None:
    page = report(make_run(reached=dict.fromkeys(("alpha-1.0", "alpha-0.5", "control"), last), ended=False))
    says = "Nothing has been measured yet" if last < 0 else "A change needs a second generation"
    assert says in page.text


def test_a_run_copied_without_its_corpora_is_reported_and_says_so(world_run: RunDirectory) -> None:
    for shard in world_run.arms.rglob("corpus-*.parquet"):
        shard.unlink()
    page = report(world_run)
    assert "its corpus is not in this directory" in page.text
    assert "surprisal" not in page.payload


def test_the_recipe_is_shown_as_it_stands_in_the_run(world_run: RunDirectory) -> None:
    assert world_run.recipe.read_text("utf-8").strip() in report(world_run).text


def test_a_report_is_replaced_whole_or_stays_as_it_was(
    world_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_report(world_run).read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(world_run)
    assert world_run.report.read_bytes() == first
    assert not list(world_run.root.glob(f"*{TEMPORARY}"))


def test_a_directory_without_a_run_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_report(RunDirectory(tmp_path))


def test_text_that_utf8_cannot_hold_does_not_stop_the_report(world_run: RunDirectory) -> None:
    with world_run.events.open("a") as file:
        file.write('{"time": 1770001000.0, "kind": "note", "text": "half a pair \\ud800"}\n')
    assert "half a pair" in report(world_run).text
