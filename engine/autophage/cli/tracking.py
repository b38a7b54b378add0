"""The verb `track`, which sends a run to trackers after the fact or while another process writes it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from autophage.cli.opening import opened
from autophage.cli.output import say
from autophage.display import safe
from autophage.errors import RunError, UserError
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.track import Tracker, TrackTable
from autophage.store.lock import is_locked
from autophage.store.rundir import RunDirectory

POLL_SECONDS = 0.5
TABLE = "track."

TrackOverrides = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="Replace one key of [track]: such as track.mlflow_uri=http://HOST:5000."),
]
Trackers = Annotated[list[Tracker], Parameter(negative="", consume_multiple=True)]


def track(directory: Path, /, *, to: Trackers, settings: TrackOverrides = None) -> int:
    """Send a run to trackers: what they lack of its committed generations, and its report.

    A run that another process writes is followed to its end.

    Args:
        directory: Run directory.
        to: Trackers, one or more.
    """
    from autophage.track.processes import Followers
    from autophage.track.sinks import missing

    with opened(directory) as run:
        table = _table(run, to, settings or [])
        if absent := [message for tracker in table.to if (message := missing(tracker))]:
            raise UserError("\n".join(absent))
        if not os.access(run.root, os.W_OK):
            raise UserError(
                f"{run.root}: cannot be written. It keeps what a tracker has received; give a copy of the run."
            )
        followers = Followers(run, table)
        try:
            followers.start(limited=False)
            while is_locked(run.lock):
                _print(followers.notes())
                time.sleep(POLL_SECONDS)
            _print(followers.wait(lambda: False, patient=True))
            if not followers.complete:
                raise RunError(f"{run.root}: not everything was sent; {run.logs} has the trackers' own words")
        finally:
            followers.abandon(kill=True)
        say(f"sent to {', '.join(table.to)}")
    return 0


def _table(run: RunDirectory, to: list[Tracker], settings: list[str]) -> TrackTable:
    """Return the table of the run's recipe with other trackers and settings.

    Raises:
        UserError: A setting is of another table.
        RecipeError: A setting is wrong.
    """
    from autophage.recipe import load_recipe

    if not to:
        raise UserError("--to names no tracker. Give one or more, such as --to mlflow tensorboard.")
    if other := [setting for setting in settings if not setting.startswith(TABLE)]:
        raise UserError(f"--set {other[0]}: only keys of [track] can be set here, such as track.project=NAME.")
    return load_recipe(str(run.recipe), [f"{TABLE}to={toml_value(to)}", *settings]).recipe.track


def _print(notes: list[str]) -> None:
    for note in notes:
        print(safe(note), file=sys.stderr)
