"""Trackio: an arm is a run in the project, in a database on this machine or a Space.

trackio has one open run in a process, and it continues a run by its name. Its warnings count as errors here: it warns where
others raise.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autophage.recipe.tables.track import TrackTable
from autophage.track.records import CURVE, MadeGeneration, TrackedArm

PACKAGE = "trackio"
FOLDER = "TRACKIO_DIR"
"""Environment variable of the database's folder. trackio reads it when it is imported."""


class TrackioSink:
    """Runs of one project."""

    def __init__(self, table: TrackTable, folder: Path) -> None:
        if table.folder:
            os.environ[FOLDER] = str(Path(table.folder) / "trackio")
        import trackio

        self._package: Any = trackio
        self._table = table
        self._first: TrackedArm | None = None
        self._open: tuple[TrackedArm, Any] | None = None

    def begin(self, arm: TrackedArm) -> None:
        self._first = self._first or arm

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        with self._listening():
            run = self._run(arm)
            for row in made.curve:
                run.log({f"{CURVE}step": row.step, **row.values}, step=row.step)
            row_of_all: dict[str, Any] = {"generation": made.generation, **made.values}
            if made.samples:
                import pandas as pd

                row_of_all["samples"] = self._package.Table(dataframe=pd.DataFrame(list(made.samples)))
            run.log(row_of_all, step=made.generation)

    def flush(self) -> bool:
        with self._listening():
            self._close()
        return True

    def attach(self, report: Path) -> None:
        assert self._first is not None
        with self._listening():
            artefact = self._package.Artifact(f"report-{self._first.id}", type="report")
            artefact.add_file(str(report), name="report.html")
            self._run(self._first).log_artifact(artefact)
            self._close()

    def end(self, outcome: str) -> None: ...

    def _run(self, arm: TrackedArm) -> Any:
        """Return the open run of an arm. The run of another arm is ended first."""
        if self._open is not None and self._open[0] != arm:
            self._close()
        if self._open is None:
            run = self._package.init(
                project=self._table.project,
                name=arm.label,
                group=arm.group,
                space_id=self._table.trackio_space,
                config={**arm.settings, **arm.tags},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            self._open = (arm, run)
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            self._package.finish()
            self._open = None

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Raise the first warning of the package in the body as an error."""
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            yield
        if wrong := [str(one.message) for one in heard if PACKAGE in str(one.message).lower()]:
            raise OSError(wrong[0])
