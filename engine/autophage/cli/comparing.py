"""The verb `compare`: runs side by side."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from autophage.cli.opening import opened
from autophage.cli.output import AsJson, print_json, print_table, say, say_wrapped
from autophage.display import shortened

if TYPE_CHECKING:
    from autophage.report.comparison.differences import MetricDifference
    from autophage.report.comparison.gather import ArmDifferences, Comparison

VALUE, LABEL = 24, 26
"""Longest setting and longest label of a metric in a terminal, in characters."""


def compare(
    *directories: Path,
    out: Path | None = None,
    generation: Annotated[int | None, Parameter(show_default=False)] = None,
    same: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    as_json: AsJson = False,
) -> int:
    """Compare runs with the first one: settings, metrics with intervals, curves, and whether they are the same run.

    Args:
        directories: Two or more run directories, finished or not.
        out: HTML file for the comparison with its curves; needs no network.
        generation: Generation of the differences; default the last one that both runs have.
        same: Exit with 1 unless every run equals the first by the hashes of its corpora, weights and metrics.
    """
    from autophage.report.comparison.gather import compare as compare_runs
    from autophage.report.comparison.gather import comparison_facts

    with ExitStack() as stack:
        runs = [stack.enter_context(opened(directory)) for directory in directories]
        compared = compare_runs(runs, generation)
        if out is not None:
            from autophage.report.comparison.page import write_comparison

            write_comparison(compared, out)
        if as_json:
            print_json({**comparison_facts(compared), "page": out})
        else:
            _print(compared)
            if out is not None:
                say(f"page: {out}")
    return 1 if same and not compared.all_same else 0


def _print(compared: Comparison) -> None:
    from autophage.report.comparison.differences import RULE
    from autophage.report.comparison.gather import arms_apart, run_line, verdict_line

    for run in compared.runs:
        say(f"{run.letter}  {run.path}")
        say_wrapped(run_line(run), indent=3)
    for note in (note for run in compared.runs for note in run.notes):
        say_wrapped(f"note: {note}")
    say()
    if compared.settings:
        print_table(
            ["setting that differs", *(run.letter for run in compared.runs)],
            [[row.key, *(shortened(value, VALUE) for value in row.values)] for row in compared.settings],
        )
    else:
        say("The recipes are equal.")
    for found in compared.differences:
        say()
        _print_arm(compared, found)
    for text in arms_apart(compared.runs):
        say_wrapped(text)
    say()
    say_wrapped(f"{RULE} * marks intervals that exclude 0.")
    say()
    for one in compared.same:
        say_wrapped(verdict_line(one))


def _print_arm(compared: Comparison, found: ArmDifferences) -> None:
    from autophage.report.comparison.differences import PAIRED, headline_differences
    from autophage.report.comparison.words import change_shown, interval_shown
    from autophage.report.facts.catalog import describe
    from autophage.report.facts.words import shown

    shown_metrics = headline_differences(found.metrics)
    if not shown_metrics:
        say(f"{found.arm}, generation {found.generation}: {found.run} and A have no headline metric in common")
        return
    seeds = max((one.found.n or 0 for one in shown_metrics if one.pairing == PAIRED), default=0)
    how = f", paired over {seeds} seeds" if seeds else ""
    say(f"{found.arm}, generation {found.generation}{how}")

    def row(one: MetricDifference) -> list[str]:
        return [
            shortened(describe(one.metric).label, LABEL),
            shown(one.metric, one.theirs.value),
            shown(one.metric, one.ours.value),
            change_shown(one.metric, one.found.value),
            interval_shown(one.metric, one.found),
            "*" if one.differs else "",
        ]

    print_table(
        ["metric", ">A", f">{found.run}", f">{found.run} - A", ">95% interval", ""], [row(one) for one in shown_metrics]
    )
