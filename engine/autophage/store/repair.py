"""Repair a run: go back to the last intact generation of each arm.

Nothing is deleted. Damaged generations and their descendants are renamed into `RUN/set-aside/`. The newest go first, so
that an arm is a chain without a gap at any moment. A resumed run makes these generations again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from autophage.store.atomic import make_folder, sync_folder
from autophage.store.fault_points import reach
from autophage.store.lock import RunLock
from autophage.store.metrics_table import write_metrics_table
from autophage.store.rundir import EventLog, RunDirectory
from autophage.store.verify import Verification, all_arms, generation_folders, verify_run


def repair_run(run: RunDirectory, expected: Sequence[str]) -> list[str]:
    """Set damaged generations and foreign files of a run aside, and rewrite the table of metrics.

    Args:
        expected: Names of the arms of the run's recipe.

    Returns:
        The steps that were taken, in words.

    Raises:
        UserError: A process is writing the run.
    """
    with RunLock(run.lock):
        found = verify_run(run, expected)
        aside = next(folder for folder in _asides(run) if not folder.exists())
        done = [
            *_go_back(run, found, aside),
            *(_set_aside(run, path, aside) for path in found.foreign if path.exists()),
        ]
        if found.false_from or not found.table:
            write_metrics_table(run, list(expected) or all_arms(run, expected))
            done.append(f"{run.metrics}: rewritten from the committed generations")
        log = EventLog(run.events)
        for text in done:
            log.append({"time": round(time.time(), 3), "kind": "note", "text": f"repair: {text}"})
    return done


def _go_back(run: RunDirectory, found: Verification, aside: Path) -> Iterator[str]:
    for arm, first in found.false_from.items():
        for number, folder in reversed(generation_folders(run, arm).items()):
            if number >= first:
                yield _set_aside(run, folder, aside)
        kept = f"resumes after generation {first - 1}" if first else "starts again"
        yield f"{arm}: {kept}"


def _set_aside(run: RunDirectory, path: Path, aside: Path) -> str:
    target = aside / path.relative_to(run.root)
    make_folder(target.parent)
    reach("set-aside", path)
    os.rename(path, target)
    reach("renamed", target)
    sync_folder(target.parent)
    sync_folder(path.parent)
    return f"{path}: moved to {target}"


def _asides(run: RunDirectory) -> Iterator[Path]:
    """Yield the folders `set-aside/001`, `set-aside/002`, ... without end. Each repair takes one."""
    number = 0
    while True:
        number += 1
        yield run.aside / f"{number:03d}"
