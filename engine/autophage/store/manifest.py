"""Manifests: a generation is committed if and only if its folder has a `manifest.json`.

The manifest is written last. It lists every file with size and sha256. It also contains the sha256 of its
parent's manifest, so a chain of generations is a chain of hashes. A folder without a manifest is left over from
an interrupted run. It is cleared before the generation is made again.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autophage.errors import StoreError
from autophage.store.atomic import clear_temporary, make_folder, sha256, write_text
from autophage.store.fault_points import reach
from autophage.store.form import require_form
from autophage.store.rundir import RunDirectory, generation_name
from autophage.store.seal import sealed, unsealed

FORMAT = 1
MANIFEST = "manifest.json"
METRICS = "metrics.json"
OPTIMIZER = "optimizer.safetensors"
INDENT = 1


@dataclass(frozen=True)
class Metric:
    """One measured value, with its 95% interval and the number of items measured.

    `low`, `high` and `n` are None where there is no interval or no such number.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Manifest:
    """Content of a manifest, the record of one committed generation.

    `parent` is the sha256 of the previous generation's manifest. It is None at generation 0. `files` maps a path inside
    the folder to {"bytes", "sha256"}. `level` is the resume level that was kept: exact, statistical or best-effort.
    """

    arm: str
    generation: int
    parent: str | None
    files: dict[str, dict[str, Any]]
    counts: dict[str, int]
    seeds: dict[str, int]
    weights: dict[str, Any]
    versions: dict[str, str]
    level: str
    format: int = FORMAT
    notes: dict[str, Any] = field(default_factory=dict)


def metric_row(metric: Metric) -> dict[str, Any]:
    """Return a metric as a row of JSON types. A bound that is not finite becomes None: one document has no spread."""
    return {**asdict(metric), "low": _finite(metric.low), "high": _finite(metric.high)}


def write_metrics(folder: Path, metrics: list[Metric]) -> None:
    """Write the metrics of a generation to `metrics.json` in its folder."""
    rows = [metric_row(metric) for metric in metrics]
    write_text(folder / METRICS, json.dumps(rows, indent=1, allow_nan=False) + "\n")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def read_metrics(folder: Path) -> list[Metric]:
    path = folder / METRICS
    try:
        return [Metric(**row) for row in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{path}: holds no metrics that can be read ({error})") from error


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return bytes and sha256 of every file under `folder` except the manifest, by path inside it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_text(folder / MANIFEST, sealed(asdict(manifest), INDENT))


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest in a generation's folder; None if the generation is not committed.

    Raises:
        StoreError: The manifest is damaged, of another format, or of another generation.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    data = unsealed(path, INDENT)
    try:
        if data.get("format") != FORMAT:
            raise StoreError(f"{path}: format {data.get('format')!r}, this version reads {FORMAT}")
        require_form(data)
        manifest = Manifest(**data)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: is not a manifest ({error})") from error
    if folder.parts[-2:] != (
        manifest.arm,
        generation_name(manifest.generation),
    ):  # otherwise its files would be sought in another folder
        raise StoreError(f"{folder}: its manifest is of {manifest.arm!r}, generation {manifest.generation}")
    return manifest


def committed(run: RunDirectory, arm: str) -> list[Manifest]:
    """Read the manifests of an arm's committed generations, from 0 to the first gap.

    The list is empty if generation 0 is not committed.
    """
    manifests: list[Manifest] = []
    while (manifest := read_manifest(run.generation(arm, len(manifests)))) is not None:
        manifests.append(manifest)
    return manifests


def shards(run: RunDirectory, manifest: Manifest) -> list[Path]:
    """Return the paths of the corpus shards that a manifest lists, in order. The files are not checked."""
    folder = run.generation(manifest.arm, manifest.generation)
    return [folder / name for name in sorted(manifest.files) if name.startswith("corpus-")]


def true_file(run: RunDirectory, manifest: Manifest, name: str) -> Path:
    """Return the path of the file `name` of a generation, after comparing the file with the manifest.

    Raises:
        StoreError: The file is not listed, missing, or has another size or sha256.
    """
    path = run.generation(manifest.arm, manifest.generation) / name
    facts = manifest.files.get(name)
    if fault := f"{path}: is not in its manifest" if facts is None else _fault_of(path, facts):
        raise StoreError(fault)
    return path


def true_shards(run: RunDirectory, manifest: Manifest) -> list[Path]:
    """Return the paths of a generation's corpus shards, after comparing each with the manifest.

    Raises:
        StoreError: A shard is missing, or has another size or sha256.
    """
    return [true_file(run, manifest, path.name) for path in shards(run, manifest)]


def _fault_of(path: Path, facts: dict[str, Any]) -> str | None:
    """Return the difference between a file and its entry in the manifest, in words; None if there is none."""
    if not path.is_file():
        return f"{path}: is missing"
    if path.stat().st_size != facts["bytes"]:
        return f"{path}: has {path.stat().st_size} bytes, the manifest says {facts['bytes']}"
    return None if sha256(path) == facts["sha256"] else f"{path}: its sha256 differs from the manifest's"


def clear_uncommitted(folder: Path) -> None:
    """Empty the folder of a generation that was never committed. Make the folder if it is missing.

    Raises:
        StoreError: The generation is committed.
    """
    if folder.is_dir():
        if (folder / MANIFEST).exists():
            raise StoreError(f"{folder}: is committed and would be overwritten")
        reach("clear", folder)
        shutil.rmtree(folder)
        reach("cleared", folder)
    make_folder(folder)


def check(run: RunDirectory, arm: str, generation: int) -> list[str]:
    """Return the faults of a committed generation in words; empty if it is intact.

    Its files and its parent are compared with its manifest.
    """
    folder = run.generation(arm, generation)
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{folder}: is not committed (no {MANIFEST})"]
    found = [_fault_of(folder / name, facts) for name, facts in manifest.files.items()]
    faults = [fault for fault in found if fault is not None]
    if generation > 0:
        parent = run.generation(arm, generation - 1) / MANIFEST
        if not parent.is_file() or sha256(parent) != manifest.parent:
            faults.append(f"{folder}: its parent is not the generation before it")
    return faults


def tidy(run: RunDirectory) -> None:
    """Remove the temporary files that an interrupted writer left in a run directory."""
    clear_temporary(run.root)
