"""What trackers have received, read from their own stores by their own readers: `{arm: {(metric, step): value}}`."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autophage.store.manifest import committed
from autophage.store.metrics_table import collect
from autophage.store.rundir import RunDirectory
from autophage.store.training import TRAINING, read_training
from autophage.track.reading import STATISTICS

Points = dict[str, dict[tuple[str, int], float]]
GENERATION, STEP = "generation", "train/step"


def of_run(run: RunDirectory, arms: list[str]) -> Points:
    """Every metric of the run's own files with its bounds, and every finite statistic of every training step."""
    found: Points = {arm: {} for arm in arms}
    for row in collect(run, arms).to_pylist():
        for end, value in (("", row["value"]), (".low", row["low"]), (".high", row["high"])):
            if value is not None:
                found[row["arm"]][row["metric"] + end, row["generation"]] = value
    for arm in arms:
        steps = 0
        for manifest in committed(run, arm):
            rows = read_training(run, manifest, STATISTICS).to_pylist() if TRAINING in manifest.files else []
            for row in rows:
                steps += 1
                found[arm] |= {(f"train/{name}", steps): value for name, value in row.items() if value == value}
    return found


def tensorboard(folder: Path, _: str) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Points = {}
    for arm in sorted(path for path in folder.glob("tensorboard/*/*") if path.is_dir()):
        reader = EventAccumulator(str(arm), size_guidance={"scalars": 0}).Reload()
        found[arm.name] = {
            (tag, event.step): event.value for tag in reader.Tags()["scalars"] for event in reader.Scalars(tag)
        }
    return found


def mlflow(folder: Path, uri: str) -> Points:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("autophage")
    assert experiment is not None
    found: Points = {}
    for run in client.search_runs([experiment.experiment_id]):
        if "autophage.arm" in run.data.tags:
            arm = run.data.tags["autophage.arm"]
            assert arm not in found, "two runs of one arm"
            points = [point for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)]
            found[arm] = {(point.key, point.step): point.value for point in points}
    return found


def trackio(folder: Path, _: str) -> Points:
    found: Points = {}
    with sqlite3.connect(folder / "trackio" / "autophage.db") as database:
        for name, text in database.execute("select run_name, metrics from metrics"):
            row = {key: value for key, value in json.loads(text).items() if isinstance(value, int | float)}
            found.setdefault(name.rpartition(" ")[0], {}).update(_of_row(row))
    return found


def wandb(folder: Path, _: str) -> Points:
    found: Points = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        arm = ""
        for record in _records(path):
            if record.HasField("run"):
                arm = record.run.display_name
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                row = {key: json.loads(text) for key, text in items.items() if not key.startswith("_")}
                kept = {key: value for key, value in row.items() if isinstance(value, int | float)}
                found.setdefault(arm, {}).update(_of_row(kept))
    return found


RECEIVED: dict[str, Callable[[Path, str], Points]] = {
    "tensorboard": tensorboard,
    "mlflow": mlflow,
    "trackio": trackio,
    "wandb": wandb,
}


def _of_row(row: dict[str, Any]) -> dict[tuple[str, int], float]:
    axis = STEP if STEP in row else GENERATION
    return {(name, int(row[axis])): float(value) for name, value in row.items() if name not in (GENERATION, STEP)}


def _records(path: Path) -> Iterator[Any]:
    """Yield the records of wandb's file: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, block = path.read_bytes(), 7, 32768
    whole = b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if not kind:
            break
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record
