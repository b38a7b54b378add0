"""Read the generations that a tracker lacks from a run directory. Another process may be writing it.

Only committed generations are read, and each file is compared with its manifest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from autophage.recipe.arms import expand
from autophage.recipe.resolved import read_resolved
from autophage.recipe.tables.track import TrackTable
from autophage.report.page import read_account, render, without_samples
from autophage.store.atomic import local, sha256
from autophage.store.corpus import read_corpus
from autophage.store.manifest import MANIFEST, METRICS, Manifest, read_manifest, read_metrics, shards, true_file
from autophage.store.numbers import is_numeric
from autophage.store.rundir import RunDirectory, read_events
from autophage.store.training import SCHEMA, TRAINING, read_training
from autophage.track.ledger import Ledger
from autophage.track.records import MadeGeneration, TrackedArm, curve_rows, identity, metric_values, tracked_arm

LONGEST = 4000
"""Most characters of a sample's text that are sent. The corpus holds the rest."""
COLUMNS = ["prompt", "text", "logprob", "entropy", "finish_reason", "accepted", "gate"]
STATISTICS = [name for name in SCHEMA.names if name != "step"]


class RunReader:
    """Reader of one run for one tracker."""

    def __init__(self, run: RunDirectory, table: TrackTable) -> None:
        self.run = run
        self._samples = table.samples
        self._steps: dict[tuple[str, int], int] = {}
        self.identity = identity(_start(run) or {"recipe": sha256(run.recipe)})
        arms = expand(read_resolved(run.recipe))
        self.arms = {arm.name: tracked_arm(arm, self.identity, table.group) for arm in arms}

    def unsent(self, ledger: Ledger) -> Iterator[tuple[TrackedArm, MadeGeneration, str]]:
        """Yield each committed generation that is not in the ledger, with its arm and the sha256 of its manifest.

        Generations of an arm come in order. A generation that was made again comes again, and so do its descendants.

        Raises:
            StoreError: A file of a generation differs from its manifest.
        """
        for name, arm in self.arms.items():
            sent = ledger.sent.setdefault(name, [])
            for generation, digest in enumerate(self._manifests(name)):
                if generation < len(sent) and sent[generation] == digest:
                    continue
                del sent[generation:]
                manifest = read_manifest(self.run.generation(name, generation))
                if manifest is None:  # a repair set it aside in the meantime
                    break
                yield arm, self._made(manifest), digest

    def _manifests(self, arm: str) -> Iterator[str]:
        """Yield the sha256 of the manifests of an arm's committed generations, in order."""
        generation = 0
        while (path := self.run.generation(arm, generation) / MANIFEST).is_file():
            yield sha256(path)
            generation += 1

    def _made(self, manifest: Manifest) -> MadeGeneration:
        folder = self.run.generation(manifest.arm, manifest.generation)
        true_file(self.run, manifest, METRICS)
        columns: dict[str, list[float]] = {}
        if TRAINING in manifest.files:
            columns = read_training(self.run, manifest, STATISTICS).to_pydict()
        return MadeGeneration(
            manifest.arm,
            manifest.generation,
            (folder / MANIFEST).stat().st_mtime,
            metric_values(read_metrics(folder)),
            curve_rows(columns, self._steps_before(manifest)) if columns else [],
            self._rows(manifest),
        )

    def _steps_before(self, manifest: Manifest) -> int:
        return sum(self._steps_of(manifest.arm, generation) for generation in range(manifest.generation))

    def _steps_of(self, arm: str, generation: int) -> int:
        """Return the number of optimizer steps that made a generation. The file is opened once."""
        key = (arm, generation)
        if key not in self._steps:
            path = self.run.generation(arm, generation) / TRAINING
            self._steps[key] = pq.read_metadata(local(path)).num_rows if path.is_file() else 0
        return self._steps[key]

    def _rows(self, manifest: Manifest) -> list[dict[str, Any]]:
        """Read samples at even distances from the first shard of a corpus, if samples are asked for."""
        paths = shards(self.run, manifest)[:1]
        if not self._samples or not paths or not paths[0].is_file() or is_numeric(paths[0]):
            return []
        table = read_corpus([true_file(self.run, manifest, path.name) for path in paths], COLUMNS)
        places = np.unique(np.linspace(0, max(0, table.num_rows - 1), min(self._samples, table.num_rows)).round())
        taken = table.take(places.astype(int))
        return [_row(manifest.generation, int(at), row) for at, row in zip(places, taken.to_pylist(), strict=True)]

    def report(self, ledger: Ledger, folder: Path) -> tuple[Path, str] | None:
        """Return the report as a file that may be sent, and the sha256 of the original; None if the tracker has it.

        Without samples, a copy in `folder` lacks the samples' text.
        """
        if not self.run.report.is_file() or (digest := sha256(self.run.report)) == ledger.report:
            return None
        if self._samples:
            return self.run.report, digest
        path = folder / self.run.report.name
        page = without_samples(self.run.report.read_text("utf-8"))
        if page is None:  # an older version wrote the report
            page = without_samples(render(self.run, read_account(self.run)))
        path.write_text(page or "", encoding="utf-8", errors="backslashreplace")
        return path, digest

    def outcome(self) -> str:
        """Return the end of the run: finished, failed or interrupted."""
        ends = {"run-end": "finished", "failed": "failed", "interrupted": "interrupted"}
        last = [ends[event["kind"]] for event in read_events(self.run.events) if event.get("kind") in ends]
        return last[-1] if last else "interrupted"


def has_begun(run: RunDirectory) -> bool:
    """Return True if the history of a run has its start."""
    return bool(_start(run))


def _start(run: RunDirectory) -> dict[str, Any]:
    """Return the event of a run's first start; empty if there is none."""
    return next((event for event in read_events(run.events) if event.get("kind") == "run-start"), {})


def _row(generation: int, place: int, row: dict[str, Any]) -> dict[str, Any]:
    means = {name: _mean(row[name]) for name in ("logprob", "entropy")}
    texts = {name: (row[name] or "")[:LONGEST] for name in ("prompt", "text", "finish_reason", "gate")}
    return {"generation": generation, "place": place, **texts, "accepted": bool(row["accepted"]), **means}


def _mean(values: list[float] | None) -> float | None:
    """Return the mean of a sample's token statistics, for the table; None without tokens."""
    found = float(np.mean(values)) if values else float("nan")
    return found if np.isfinite(found) else None
