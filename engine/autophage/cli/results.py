"""Verbs that make something out of a run for somebody else: `report` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from autophage.cli.opening import arms_of, opened
from autophage.cli.output import AsJson, print_json, say
from autophage.errors import UserError


def report(directory: Path, /, *, figure: Path | None = None, as_json: AsJson = False) -> int:
    """Write the report of a run, one HTML file that needs no network.

    Parameters
    ----------
    directory
        A run directory.
    figure
        Also write the report's first figure to this SVG file.
    """
    from autophage.report import account_facts, read_account, write_report

    with opened(directory) as run:
        account = read_account(run)
        path = write_report(run, account)
        if figure is not None:
            from autophage.report.hero import hero_figure
            from autophage.store.atomic import write_text

            write_text(figure, hero_figure(run, account.facts))
    if as_json:
        drawn = None if figure is None else str(figure)
        print_json({"report": str(path), "figure": drawn, **account_facts(account)})
    else:
        say(path)
        if figure is not None:
            say(figure)
    return 0


def export(
    directory: Path,
    /,
    *,
    arm: str,
    generation: int,
    out: Path,
    what: Literal["adapter", "model", "merged", "corpus"] = "adapter",
) -> int:
    """Copy one generation out of a run: its adapter, the whole model, or its corpus, with a card.

    Parameters
    ----------
    directory
        A run directory.
    arm
        Which arm; `autophage status DIR` lists them.
    generation
        Which generation; 0 is the untouched model.
    out
        Where to write. Must not exist.
    what
        The adapter in PEFT's format, the whole model (an adapter is merged in; "merged" says the same), or what that model
        wrote. An arm that trained all weights has no adapter.
    """
    with opened(directory) as run:
        names = [one.name for one in arms_of(run)]
        if arm not in names:
            raise UserError(f"--arm {arm}: the run has no such arm. It has {', '.join(names)}.")
        from autophage.runs.export import export as export_generation

        say(export_generation(run, arm, generation, what, out))
    return 0
