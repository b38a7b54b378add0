"""Verbs that write outputs of a run: `report` and `export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from autophage.cli.opening import arms_of, opened
from autophage.cli.output import AsJson, print_json, say
from autophage.errors import UserError

Public = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Create the repository of --push as a public one."),
]


def report(directory: Path, /, *, figure: Path | None = None, as_json: AsJson = False) -> int:
    """Write the report of a run: one HTML file that needs no network.

    Args:
        directory: Run directory.
        figure: SVG file for the report's first figure.
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
    out: Path | None = None,
    push: str | None = None,
    public: Public = False,
    what: Literal["adapter", "model", "merged", "corpus"] = "adapter",
) -> int:
    """Export one generation of a run with a card: its adapter, the whole model, or its corpus.

    Args:
        directory: Run directory.
        arm: Name of the arm; `autophage status DIR` lists them.
        generation: Number of the generation; 0 is the base model.
        out: Folder to write; must be new or empty. It may be left out with --push.
        push: Repository on a hub, USER/NAME, that the export is sent to; a corpus becomes a dataset. Token and address
            come from HF_TOKEN and HF_ENDPOINT. A repository that is created is private.
        what: The adapter in PEFT's format, the whole model with the adapter merged in ("merged" is the same), or the
            corpus that the model wrote. An arm that trains all weights has no adapter.
    """
    if out is None and push is None:
        raise UserError("Give --out FOLDER, --push REPOSITORY or both.")
    with opened(directory) as run:
        names = [one.name for one in arms_of(run)]
        if arm not in names:
            raise UserError(f"--arm {arm}: the run has no such arm. It has {', '.join(names)}.")
        from autophage.runs.export import export as export_generation
        from autophage.runs.push import push as push_export
        from autophage.runs.push import require_pushable

        if push is not None:
            require_pushable(push)
        with tempfile.TemporaryDirectory() as scratch:
            written = export_generation(run, arm, generation, what, out or Path(scratch) / "export")
            if out is not None:
                say(written)
            if push is not None:
                say(push_export(written, push, what, public=public))
    return 0
