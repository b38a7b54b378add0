"""Verbs that inspect a run directory: `status` and `verify`. Only `verify --repair` changes it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from autophage.cli.opening import arms_of, opened
from autophage.cli.output import AsJson, print_json, print_table, say
from autophage.errors import RecipeError
from autophage.store.lock import is_locked
from autophage.store.rundir import RunDirectory, read_events

if TYPE_CHECKING:
    from autophage.recipe.arms import Arm
    from autophage.store.verify import Verification

Repair = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Go back to the last intact generation of each arm; later ones move to RUN/set-aside.",
    ),
]


def status(directory: Path, /, *, as_json: AsJson = False) -> int:
    """Show the state of a run: committed generations, current stages, headline metrics, size on disk.

    Args:
        directory: Run directory.
    """
    with opened(directory) as run:
        facts = _status(run, arms_of(run))
        if as_json:
            print_json(facts)
        else:
            _print_status(facts)
    return 0


def _status(run: RunDirectory, arms: list[Arm]) -> dict[str, Any]:
    from autophage.cli.summary import headlines
    from autophage.live.eta import time_left
    from autophage.live.reducer import ArmState, fold_all

    state = fold_all(read_events(run.events))
    writer, light = is_locked(run.lock), _shares_of_light(run)
    rows = []
    for arm, summary in zip(arms, headlines(run, [arm.name for arm in arms]), strict=True):
        count = 0 if summary.last is None else summary.last + 1
        stage = state.arms.get(arm.name, ArmState(arm.name)).stage if writer else None
        rows.append(
            {
                "name": arm.name,
                "control": arm.control,
                "committed": count,
                "total": arm.recipe.generations + 1,
                "stage": None if stage is None else asdict(stage),
                "metrics": {metric: asdict(headline) for metric, headline in summary.metrics.items()},
                "of_light": light.get(arm.name, {}),
            }
        )
    finished = all(row["committed"] == row["total"] for row in rows)
    now = time.time()
    return {
        "run": str(run.root),
        "name": arms[0].recipe.name,
        "state": _state(writer, finished, state.outcome),
        "message": state.message,
        "writer": writer,
        "elapsed_seconds": state.elapsed(now if writer else state.last),
        "seconds_left": 0.0 if finished else time_left(state, now) if writer else None,
        "bytes": _size_on_disk(run.root),
        "choices": run.read_environment().get("choices", {}),
        "arms": rows,
    }


def _shares_of_light(run: RunDirectory) -> dict[str, dict[str, float]]:
    """Return the share of light of each arm's last sampling and training, by arm and stage."""
    found: dict[str, dict[str, float]] = {}
    for event in read_events(run.events):
        share = event.get("of_light")
        if event.get("kind") == "stage-end" and isinstance(share, float):
            found.setdefault(str(event.get("arm")), {})[str(event.get("stage"))] = share
    return found


def _state(writer: bool, finished: bool, outcome: str) -> str:
    """Return the state of a run in one word, such as running or finished.

    Commits decide. Events only tell why an unfinished run stopped.
    """
    if writer:
        return "running"
    if finished:
        return "finished"
    return outcome if outcome in ("failed", "interrupted") else "stopped"


def _print_status(facts: dict[str, Any]) -> None:
    from autophage.cli.summary import Headline
    from autophage.display import duration, size
    from autophage.live.headline import LABELS, columns
    from autophage.plan.choices import WITHOUT_GPU

    writer = "a process is writing it" if facts["writer"] else "no process is writing it"
    say(f"{facts['name']} in {facts['run']}: {facts['state']}, {writer}")
    left = f", {duration(facts['seconds_left'])} left" if facts["state"] == "running" else ""
    say(f"{duration(facts['elapsed_seconds'])} elapsed{left}, {size(facts['bytes'])} on disk")
    for key, one in facts["choices"].items():
        if one["reason"] != WITHOUT_GPU:
            say(f"{key} = {one['value']}: {one['reason']}")
    if facts["message"] and facts["state"] in ("failed", "interrupted"):
        say(f"{facts['state']}: {facts['message']}")
    say()
    metrics = columns({metric for row in facts["arms"] for metric in row["metrics"]})
    rows = []
    for row in facts["arms"]:
        shown = [str(Headline(**row["metrics"][metric])) if metric in row["metrics"] else "-" for metric in metrics]
        rows.append([row["name"], f"{row['committed']}/{row['total']}", _stage(row), *shown])
    print_table(["arm", ">committed", "stage", *(f">{LABELS[metric]}" for metric in metrics)], rows)


def _stage(row: dict[str, Any]) -> str:
    stage = row["stage"]
    if stage is None:
        return "finished" if row["committed"] == row["total"] else "-"
    share = f" {stage['done'] / stage['total']:.0%}" if stage["total"] else ""
    return f"{stage['name']} of generation {stage['generation']}{share}"


def _size_on_disk(root: Path) -> int:
    total = 0
    for path in root.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # a writer renamed or removed the file after it was listed
    return total


def verify(directory: Path, /, *, repair: Repair = False, as_json: AsJson = False) -> int:
    """Check every committed generation against its manifest: hashes, parents, gaps, counts, foreign files.

    Args:
        directory: Run directory.
    """
    from autophage.store.repair import repair_run
    from autophage.store.verify import verify_run

    with opened(directory) as run:
        names, unreadable = _expected(run)
        result = verify_run(run, names)
        done = repair_run(run, names) if repair and result.repairable else []
        if done:
            result = verify_run(run, names)
        result.faults += unreadable
    if as_json:
        print_json({"run": str(directory), "ok": result.ok, **asdict(result), "repaired": done})
    else:
        _print_verification(directory, result, done)
    return 0 if result.ok else 1


def _expected(run: RunDirectory) -> tuple[list[str], list[str]]:
    """Return the names of the arms of the run's recipe. If it cannot be read, return its faults too."""
    try:
        return [arm.name for arm in arms_of(run)], []
    except RecipeError as error:
        return [], [f"{error}\nRestore {run.recipe} from a copy."]


def _print_verification(directory: Path, result: Verification, done: list[str]) -> None:
    for step in done:
        say(f"repair: {step}")
    for note in result.notes:
        say(f"note: {note}")
    for fault in result.faults:
        say(f"fault: {fault}")
    for arm, first in result.false_from.items():
        kept = f"intact up to generation {first - 1}" if first else "no generation is intact"
        say(f"{arm}: {kept}")
    if result.repairable:
        say(
            f"`autophage verify {directory} --repair` sets damaged generations aside; `autophage run` then remakes them"
        )
    verdict = "no faults" if result.ok else f"{len(result.faults)} fault{'s' * (len(result.faults) > 1)}"
    say(f"{len(result.arms)} arms, {result.generations} generations, {result.samples} samples: {verdict}")
