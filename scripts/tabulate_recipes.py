"""Tabulate the findings of the shipped recipes: `recipes/results/*.parquet` and the tables in `recipes/README.md`.

    python scripts/tabulate_recipes.py runs/knowledge-collapse runs/curse-of-recursion    # keep and tabulate finished runs
    python scripts/tabulate_recipes.py                                                    # rebuild the tables from kept results

A result keeps the run's metrics with seeds pooled, the verdicts on the paper's claims, the machine and the time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import kept_results
import remedy_table
from claims import CLAIMS, Study

from autophage.report.facts.load import load
from autophage.report.facts.pooling import pooled, pools
from autophage.store.rundir import RunDirectory

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "recipes" / "results", ROOT / "recipes" / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
KEPT = (
    *("knowledge/", "questions/", "format/compliance", "fluency/", "fact/ppl", "onpolicy/entropy"),
    *("text/distinct_2", "tail/", "learner/", "theory/"),
)  # fmt: skip
"""Prefixes of the metrics that a result keeps. Metrics of one format of one subject are left out."""


def result(folder: Path) -> dict[str, Any]:
    """Result of a finished run, as `kept_results` writes it. Floats are rounded to six decimals."""
    run = RunDirectory(folder)
    facts = load(run)
    study = Study(run, facts, pooled(facts), pools(facts))
    rows = [row for row in study.shown.rows if row["arm"] in {arm.name for arm in study.shown.arms}]
    profile = facts.recipe.profile
    seconds = sum(event["seconds"] for event in facts.events if event["kind"] == "run-end")
    return {
        "recipe": facts.recipe.name,
        "profile": profile,
        "command": f"autophage run {facts.recipe.name}"
        + (f" --profile {profile}" if profile not in ("", "tiny") else ""),
        "seconds": round(seconds),
        "environment": {key: facts.environment[key] for key in ("autophage", "cpu_count", "packages", "model")},
        "findings": [asdict(one) for one in CLAIMS[facts.recipe.name](study)],
        "remedies": remedy_table.comparison(run, facts),
        "metrics": [
            {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
            if row["metric"].startswith(KEPT) and row["metric"].count(".") < 2
        ],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of claims, in the order of `CLAIMS`."""
    lines = [
        "| paper | claim | theirs | ours | verdict | command | machine | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(results, key=lambda one: (list(CLAIMS).index(one["recipe"]), one["profile"])):
        device = one["environment"]["model"]["device"]
        machine = f"{one['environment']['cpu_count']} CPU cores" if device == "cpu" else device
        time = f"{one['seconds'] // 60}:{one['seconds'] % 60:02d}"
        lines += [
            f"| {_paper(found['paper'])} | {found['claim']} | {found['theirs']} | {found['ours']} | **{found['verdict']}** | "
            f"`{one['command']}` | {machine} | {time} |"
            for found in one["findings"]
        ]
    return "\n".join(lines)


def _paper(name: str) -> str:
    return f"[{name}](https://arxiv.org/abs/{name})" if name[:4].isdigit() else name


def kept() -> list[dict[str, Any]]:
    """Every kept result."""
    return kept_results.read_all(RESULTS)


def main(folders: Sequence[str]) -> None:
    """Keep the results of finished runs, then rebuild both tables of the README."""
    RESULTS.mkdir(exist_ok=True)
    for folder in folders:
        found = result(Path(folder))
        path = kept_results.write(RESULTS, found)
        print(f"{path.relative_to(ROOT)}: {', '.join(one['verdict'] for one in found['findings'])}")
    results = kept()
    fill(BEGIN, table(results), END)
    fill(remedy_table.BEGIN, "\n\n".join(remedy_table.tables(results)), remedy_table.END)


def fill(begin: str, text: str, end: str) -> None:
    """Replace the text between two marks of the README."""
    page = README.read_text("utf-8")
    README.write_text(f"{page.split(begin)[0]}{begin}\n{text}\n{end}{page.split(end)[1]}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
