"""Long-running verbs: `run` makes generations, `watch` follows a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.cli.opening import crashes_logged, opened
from autophage.cli.output import Overrides, Profile, say
from autophage.display import safe
from autophage.errors import RequeueInterrupt
from autophage.live import View, open_view
from autophage.store.lock import is_locked
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    from autophage.live.follow import EventTail

POLL_SECONDS = 0.25
ENDS = ("run-end", "interrupted", "failed")
GONE = "its process died without a message; the same `autophage run` command resumes"


def run(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    fork_from: str | None = None,
    address: str | None = None,
    insecure: bool = False,
    profile: Profile = None,
    settings: Overrides = None,
) -> int:
    """Run a recipe. The same command on the same directory resumes after the last commit.

    Args:
        recipe: Recipe file, or name of a shipped recipe.
        out: Run directory; default runs/NAME.
        fork_from: Begin with generations 0 to GEN of another run: RUN@GEN, such as runs/demo@3.
        address: Ray cluster to work on: auto (the cluster of this machine) or HOST:PORT; default a private Ray.
        insecure: Join a cluster of several machines that requires no token.
    """
    from autophage.recipe import load_recipe
    from autophage.runs.start import perform, run_directory

    loaded = load_recipe(recipe, settings or [], profile)
    for warning in loaded.warnings:
        print(f"warning: {safe(warning)}", file=sys.stderr)
    directory = run_directory(loaded, out)
    with crashes_logged(directory):
        try:
            worked = perform(loaded, directory, address=address, fork_from=fork_from, insecure=insecure)
        except RequeueInterrupt:
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command resumes after the last commit") from None
    _sum_up(directory, [arm.name for arm in loaded.arms], worked)
    return 0


def _sum_up(directory: RunDirectory, arms: Sequence[str], worked: bool) -> None:
    """Print each arm's headline metrics and the path of the report.

    Args:
        worked: False if the run was finished already.
    """
    from autophage.cli.summary import headline_lines, headlines

    if not worked:
        say(f"nothing to do: {directory.root} is finished; its report is {directory.report}")
        return
    for line in headline_lines(headlines(directory, arms)):
        say(line)
    say(f"report: {directory.report}")


def watch(directory: Path, /) -> int:
    """Follow a run until it ends. Another process may be writing it.

    Args:
        directory: Run directory.
    """
    from autophage.live.follow import EventTail

    with opened(directory) as found:
        tail = EventTail(found.events)
        try:
            with open_view() as view:
                last = _hand_over(tail, view)
                while is_locked(found.lock):
                    newest = _hand_over(tail, view)
                    last = newest or last
                    if newest is not None and newest.get("kind") in ENDS:
                        break
                    time.sleep(POLL_SECONDS)
                last = _hand_over(tail, view) or last
                if last is not None and last.get("kind") not in ENDS:
                    view.handle({"time": last.get("time", 0.0), "kind": "interrupted", "reason": GONE})
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped watching; the run continues") from None
        if last is None:
            say("the run has no events yet, and no process is writing it")
    return 0


def _hand_over(tail: EventTail, view: View) -> dict[str, Any] | None:
    """Pass the new events of a run to the view. Return the last of them; None if there are none."""
    events = tail.read()
    for event in events:
        view.handle(event)
    return events[-1] if events else None
