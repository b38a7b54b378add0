"""Weights & Biases: the group is a group, an arm a run in it.

wandb writes what it gets to a file of its own and uploads that in its own process. Nothing but the run's content is sent: no
console, no code, no facts about machine and repository.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import wandb

from autophage.recipe.tables.track import TrackTable
from autophage.track.records import CURVE, MadeGeneration, TrackedArm

STEP = f"{CURVE}step"
START_SECONDS = 30.0
"""Longest wait for a server when a run begins. The package's own default is 90 s."""


class WandbSink:
    """Runs of one group."""

    def __init__(self, table: TrackTable, folder: Path) -> None:
        if table.wandb_url:
            os.environ["WANDB_BASE_URL"] = table.wandb_url
        self._table = table
        self._folder = Path(table.folder) if table.folder else folder
        self._runs: dict[str, Any] = {}

    def begin(self, arm: TrackedArm) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            entity=self._table.wandb_entity,
            project=self._table.project,
            group=arm.group,
            name=arm.name,
            id=arm.id,
            dir=str(self._folder),
            config={**arm.settings, "autophage": dict(arm.tags)},
            tags=["control"] if arm.tags["control"] == "true" else [],
            resume="allow",
            reinit="create_new",
            settings=_settings(),
        )
        run.define_metric("generation", hidden=True)
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric="generation")
        run.define_metric(f"{CURVE}*", step_metric=STEP)
        self._runs[arm.name] = run

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        run = self._runs[arm.name]
        for row in made.curve:
            run.log({STEP: row.step, **row.values})
        row_of_all: dict[str, Any] = {"generation": made.generation, **made.values}
        if made.samples:
            columns = list(made.samples[0])
            rows = [[row[name] for name in columns] for row in made.samples]
            row_of_all["samples"] = wandb.Table(columns=columns, data=rows)
        run.log(row_of_all)

    def flush(self) -> bool:
        """Return False: the package's process holds the newest rows in memory, and uploads are known at the end alone."""
        return False

    def attach(self, report: Path) -> None:
        first = next(iter(self._runs.values()))
        artefact = wandb.Artifact(f"report-{first.id}", type="report")
        artefact.add_file(str(report), name="report.html")
        first.log_artifact(artefact)

    def end(self, outcome: str) -> None:
        for run in self._runs.values():
            run.finish(exit_code=int(outcome in ("failed", "interrupted")))


def _settings() -> wandb.Settings:
    """Return settings that send nothing but what is logged."""
    return wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        init_timeout=START_SECONDS,
    )
