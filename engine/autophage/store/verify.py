"""Verify a run directory: no committed sample is lost or counted twice.

Every file that a manifest lists is read and hashed. Manifests and `environment.json` have seals, the recipe has a hash,
and the table of metrics is compared with the generations. Faults concern committed generations. Folders without a
manifest are notes, because they were never counted. History and logs are not verified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autophage.errors import StoreError
from autophage.store.atomic import sha256
from autophage.store.lock import is_locked
from autophage.store.manifest import MANIFEST, Manifest, check, read_manifest, shards
from autophage.store.rundir import RunDirectory

GENERATION = re.compile(r"gen-(\d{3,})")


@dataclass
class Verification:
    """Result of a verification. `ok` is True if there are no faults.

    `arms` maps each arm to its number of committed generations. `samples` counts the rows of their corpora. `faults`
    and `notes` are lines for the user. `false_from` maps an arm to its first damaged generation, whose descendants are
    invalid too. `foreign` lists files that belong to no generation. `table` is True if the table of metrics equals the
    generations' metrics.
    """

    arms: dict[str, int] = field(default_factory=dict)
    generations: int = 0
    samples: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    false_from: dict[str, int] = field(default_factory=dict)
    foreign: list[Path] = field(default_factory=list)
    table: bool = True

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def repairable(self) -> bool:
        """True if going back to the last intact generations mends a fault."""
        return bool(self.false_from or self.foreign) or not self.table


def verify_run(run: RunDirectory, expected: Sequence[str]) -> Verification:
    """Check every committed generation of a run, and return the faults and counts.

    Args:
        expected: Names of the arms of the recipe. Other arms in the run are checked too.
    """
    result = Verification()
    _verify_beginning(run, result)
    for arm in all_arms(run, expected):
        if arm not in expected:
            result.notes.append(f"{run.arms / arm}: the recipe has no such arm; verified nevertheless")
        _verify_arm(run, arm, result)
    if not result.false_from:
        _verify_table(run, all_arms(run, expected), result)
    if run.aside.is_dir():
        result.notes.append(f"{run.aside}: files that a repair set aside; they may be removed")
    return result


def all_arms(run: RunDirectory, expected: Sequence[str]) -> list[str]:
    found = sorted(path.name for path in run.arms.iterdir() if path.is_dir()) if run.arms.is_dir() else []
    return [*expected, *(name for name in found if name not in expected)]


def generation_folders(run: RunDirectory, arm: str) -> dict[int, Path]:
    """Return the folders of an arm's generations by number, in order. They may be uncommitted."""
    folder = run.arms / arm
    matches = {path: GENERATION.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else [])}
    return dict(sorted((int(match[1]), path) for path, match in matches.items() if match and path.is_dir()))


def _verify_beginning(run: RunDirectory, result: Verification) -> None:
    """Check recipe, environment and origin of a run, which nothing can make again.

    Faults are added to `result`.
    """
    environment: dict[str, Any] = {}
    try:
        run.read_fork()
        environment = run.read_environment()
    except StoreError as error:
        result.faults.append(f"{error}. Restore it from a copy")
    stated = environment.get("recipe")
    if stated is not None and stated != sha256(run.recipe):
        result.faults.append(
            f"{run.recipe}: its sha256 differs from that in {run.environment.name}. Restore it from a copy"
        )


def _verify_arm(run: RunDirectory, arm: str, result: Verification) -> None:
    """Check all generations of one arm, in order. Faults, notes and counts are added to `result`."""
    folders = generation_folders(run, arm)
    committed = [number for number, folder in folders.items() if (folder / MANIFEST).is_file()]
    result.arms[arm] = len(committed)
    for number in range(max(committed, default=-1) + 1):
        faults = _verify_generation(run, arm, number, result)
        if faults:
            result.false_from.setdefault(arm, number)
            result.faults += faults
    for number, folder in folders.items():
        if number > max(committed, default=-1):
            writing = "being written" if is_locked(run.lock) else "left by an interrupted run; a resumed run clears it"
            result.notes.append(f"{folder}: uncommitted, not counted ({writing})")
    for path in sorted((run.arms / arm).iterdir()) if (run.arms / arm).is_dir() else []:
        if path not in folders.values():
            _is_foreign(path, "is not a generation", result)


def _verify_generation(run: RunDirectory, arm: str, number: int, result: Verification) -> list[str]:
    """Return the faults of one generation in words. Foreign files in its folder are added to `result`."""
    folder = run.generation(arm, number)
    if not (folder / MANIFEST).is_file():
        return [f"{folder}: has no {MANIFEST}, but later generations have one"]
    result.generations += 1
    try:
        faults = check(run, arm, number)
        manifest = read_manifest(folder)
    except StoreError as error:
        return [str(error)]
    if manifest is None or faults:
        return faults
    listed = {*manifest.files, MANIFEST}
    folders = {str(parent) for name in manifest.files for parent in Path(name).parents}
    for path in sorted(folder.rglob("*")):
        if str(path.relative_to(folder)) not in (folders if path.is_dir() else listed):
            _is_foreign(path, f"is not in the manifest of {arm}, generation {number}", result)
    return _verify_corpus(run, manifest, result)


def _is_foreign(path: Path, why: str, result: Verification) -> None:
    if not any(path.is_relative_to(known) for known in result.foreign):
        result.foreign.append(path)
        result.faults.append(f"{path}: {why}")


def _verify_corpus(run: RunDirectory, manifest: Manifest, result: Verification) -> list[str]:
    """Return the faults of a corpus in words: wrong counts, and duplicate samples.

    Rows and verdicts are compared with the manifest. The files themselves are verified already.
    """
    from autophage.store.corpus import read_corpus

    ids = read_corpus(shards(run, manifest), columns=["sample_id"]).column("sample_id").to_pylist()
    folder = run.generation(manifest.arm, manifest.generation)
    result.samples += len(ids)
    found = {"samples": len(ids), **_judged(run, manifest)}
    stated = {name: count for name, count in manifest.counts.items() if name in found or "." in name}
    faults = [
        f"{folder}: its corpus has {found.get(name, 0)} {name}, the manifest says {stated.get(name, 0)}"
        for name in dict.fromkeys([*found, *stated])
        if found.get(name, 0) != stated.get(name, 0)
    ]
    if len(set(ids)) != len(ids):
        faults.append(f"{folder}: {len(ids) - len(set(ids))} samples of its corpus are duplicates")
    return faults


def _judged(run: RunDirectory, manifest: Manifest) -> dict[str, int]:
    """Count the gates' verdicts in a corpus, by verdict and reason. A corpus of numbers has none."""
    from autophage.store.corpus import read_corpus
    from autophage.store.judged import count_judged

    if "values" in manifest.counts:
        return {}
    rows = read_corpus(shards(run, manifest), columns=["accepted", "gate"])
    return count_judged(zip(rows.column("accepted").to_pylist(), rows.column("gate").to_pylist(), strict=True))


def _verify_table(run: RunDirectory, arms: list[str], result: Verification) -> None:
    """Compare the table of metrics with the generations. A difference is added to the faults of `result`.

    The table may lack the newest generations, but no row may differ.
    """
    from autophage.store.metrics_table import collect, read_metrics_table

    made = {(row["arm"], row["generation"], row["metric"]): row for row in collect(run, arms).to_pylist()}
    try:
        rows = read_metrics_table(run).to_pylist()
        result.table = all(made.get((row["arm"], row["generation"], row["metric"])) == row for row in rows)
    except StoreError:
        result.table = False
    if not result.table:
        result.faults.append(f"{run.metrics}: differs from the metrics of the generations")
