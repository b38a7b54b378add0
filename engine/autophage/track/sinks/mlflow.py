"""MLflow: the project is an experiment, the group a parent run, an arm a run below it.

A run is found again by its tag `autophage.id`. A metric is sent with the time of its commit, so that sending it twice gives the
same point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, ViewType
from mlflow.exceptions import MlflowException

from autophage.recipe.tables.track import TrackTable
from autophage.track.records import MadeGeneration, SettingValue, TrackedArm

MOST_METRICS, MOST_PARAMETERS = 1000, 100
"""Most entries of one request, by MLflow's own limits."""
LONGEST_VALUE = 500
"""Most characters of a parameter. Servers before 2.8 refuse more."""
ID, SETTLED = "autophage.id", "autophage.settings"
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowSink:
    """Runs of one experiment."""

    def __init__(self, table: TrackTable, folder: Path) -> None:
        self._client = MlflowClient(tracking_uri=table.mlflow_uri)
        self._project = table.project
        self._experiment = ""
        self._parent = ""
        self._runs: dict[str, str] = {}

    def begin(self, arm: TrackedArm) -> None:
        if not self._parent:
            self._experiment = self._find_experiment()
            run = arm.tags["run"]
            self._parent = self._run(f"{run}/{arm.group}", arm.group, {"autophage.run": run}, {})
        tags = {f"autophage.{name}": value for name, value in arm.tags.items()}
        tags |= {"autophage.group": arm.group, "mlflow.parentRunId": self._parent}
        self._runs[arm.name] = self._run(arm.id, arm.name, tags, arm.settings)

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        run, at = self._runs[arm.name], round(1000 * made.time)
        rows = [(made.generation, made.values), *((row.step, row.values) for row in made.curve)]
        points = (Metric(_key(name), value, at, step) for step, values in rows for name, value in values.items())
        for part in _parts(points, MOST_METRICS):
            self._client.log_batch(run, metrics=part)
        if made.samples:
            columns = list(made.samples[0])
            table = {"columns": columns, "data": [[row[name] for name in columns] for row in made.samples]}
            self._client.log_dict(run, table, f"samples/gen-{made.generation:03d}.json")

    def flush(self) -> bool:
        return True

    def attach(self, report: Path) -> None:
        self._client.log_artifact(self._parent, str(report))

    def end(self, outcome: str) -> None:
        for run in (*self._runs.values(), self._parent):
            if outcome in STATUS:
                self._client.set_terminated(run, STATUS[outcome])

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._project)
        if found is None:
            try:
                return str(self._client.create_experiment(self._project))
            except MlflowException:  # another run made it in the meantime
                found = self._client.get_experiment_by_name(self._project)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _run(self, own: str, name: str, tags: Mapping[str, str], settings: Mapping[str, SettingValue]) -> str:
        """Return MLflow's id of the run whose tag `ID` is `own`. The run is created if there is none, else set to running."""
        wanted = f"tags.`{ID}` = '{own}'"
        found = self._client.search_runs([self._experiment], wanted, ViewType.ACTIVE_ONLY, max_results=1)
        run = found[0] if found else self._client.create_run(self._experiment, run_name=name, tags={ID: own, **tags})
        key = str(run.info.run_id)
        if found:
            self._client.update_run(key, status="RUNNING")
        if SETTLED not in run.data.tags:  # new, or its first process died before all settings were sent
            parameters = [Param(_key(name), str(value)[:LONGEST_VALUE]) for name, value in settings.items()]
            for part in _parts(parameters, MOST_PARAMETERS):
                self._client.log_batch(key, params=part)
            self._client.set_tag(key, SETTLED, "complete")
        return key


def _parts(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the entries in lists of at most `size`."""
    rest = iter(entries)
    while part := list(islice(rest, size)):
        yield part


def _key(name: str) -> str:
    """Return a name in the characters that MLflow allows."""
    return re.sub(r"[^\w.\-/ ]", "_", name, flags=re.ASCII)
