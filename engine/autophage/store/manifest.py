"""Manifests: the one file that makes a generation count.

A generation folder is committed when `manifest.json` is there: it is written last, it names every file with size and
sha256, and it carries the sha256 of its parent's manifest, so a chain of generations is a chain of hashes. A folder
without one is scrap from an interrupted run, and is cleared before the generation is made again.
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
    """One measured value with its 95% interval (None where it has none) and the number of items behind it."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Manifest:
    """`files` maps a path inside the folder to {"bytes", "sha256"}; `level` is the resume promise that was kept."""

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
    """A metric as it is stored: an interval that does not exist (one document has no spread) is null."""
    return {**asdict(metric), "low": _finite(metric.low), "high": _finite(metric.high)}


def write_metrics(folder: Path, metrics: list[Metric]) -> None:
    """Write `metrics.json`."""
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
    """Size and sha256 of every file under `folder` but the manifest itself."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_text(folder / MANIFEST, sealed(asdict(manifest), INDENT))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a committed generation, None where there is none; `StoreError` where it is not what was written."""
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
    ):  # its files would be looked for elsewhere
        raise StoreError(f"{folder}: its manifest is of {manifest.arm!r}, generation {manifest.generation}")
    return manifest


def committed(run: RunDirectory, arm: str) -> list[Manifest]:
    """The committed generations of an arm, from 0 without a gap."""
    manifests: list[Manifest] = []
    while (manifest := read_manifest(run.generation(arm, len(manifests)))) is not None:
        manifests.append(manifest)
    return manifests


def shards(run: RunDirectory, manifest: Manifest) -> list[Path]:
    """The corpus shards that a manifest lists, in order."""
    folder = run.generation(manifest.arm, manifest.generation)
    return [folder / name for name in sorted(manifest.files) if name.startswith("corpus-")]


def true_file(run: RunDirectory, manifest: Manifest, name: str) -> Path:
    """A file of a committed generation, which is as its manifest says.

    Raises:
        StoreError: it is not, and nothing may be made from it.
    """
    path = run.generation(manifest.arm, manifest.generation) / name
    facts = manifest.files.get(name)
    if fault := f"{path}: is not in its manifest" if facts is None else _fault_of(path, facts):
        raise StoreError(fault)
    return path


def true_shards(run: RunDirectory, manifest: Manifest) -> list[Path]:
    """As `shards`, each as its manifest says (`StoreError` where not)."""
    return [true_file(run, manifest, path.name) for path in shards(run, manifest)]


def _fault_of(path: Path, facts: dict[str, Any]) -> str | None:
    """What is wrong with a file that a manifest lists with these facts."""
    if not path.is_file():
        return f"{path}: is missing"
    if path.stat().st_size != facts["bytes"]:
        return f"{path}: has {path.stat().st_size} bytes, the manifest says {facts['bytes']}"
    return None if sha256(path) == facts["sha256"] else f"{path}: its sha256 is not the manifest's"


def clear_uncommitted(folder: Path) -> None:
    """Make room for a generation: whatever stands in `folder` without a manifest was never committed."""
    if folder.is_dir():
        if (folder / MANIFEST).exists():
            raise StoreError(f"{folder}: is committed and would be overwritten")
        reach("clear", folder)
        shutil.rmtree(folder)
        reach("cleared", folder)
    make_folder(folder)


def check(run: RunDirectory, arm: str, generation: int) -> list[str]:
    """Everything wrong with one committed generation, in words; an empty list when all is as the manifest says."""
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
    """Remove temporary files that an interrupted writer left anywhere in the run."""
    clear_temporary(run.root)
