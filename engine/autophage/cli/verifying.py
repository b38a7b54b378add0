"""The promise "never lost, never counted twice", checked from what is on disk.

Faults are about what is committed; leftovers without a manifest are notes, because they were never counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autophage.errors import StoreError
from autophage.store.manifest import MANIFEST, Manifest, check, read_manifest, shards
from autophage.store.rundir import RunDirectory, is_locked

GENERATION = re.compile(r"gen-(\d{3,})")


@dataclass
class Verification:
    """`arms` maps each arm to the generations it has committed; `samples` counts the rows of their corpora."""

    arms: dict[str, int] = field(default_factory=dict)
    generations: int = 0
    samples: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults


def verify_run(run: RunDirectory, expected: Sequence[str]) -> Verification:
    """Check the `expected` arms and whatever else stands in the run's `arms` folder."""
    result = Verification()
    found = sorted(path.name for path in run.arms.iterdir() if path.is_dir()) if run.arms.is_dir() else []
    for arm in [*expected, *(name for name in found if name not in expected)]:
        if arm not in expected:
            result.notes.append(f"{run.arms / arm}: the recipe has no such arm; checked all the same")
        _verify_arm(run, arm, result)
    return result


def _verify_arm(run: RunDirectory, arm: str, result: Verification) -> None:
    """All generation folders of one arm, in order."""
    folders = _generation_folders(run, arm, result)
    committed = [number for number, folder in folders.items() if (folder / MANIFEST).is_file()]
    result.arms[arm] = len(committed)
    missing = [number for number in range(max(committed, default=-1) + 1) if number not in committed]
    for number in missing:
        result.faults.append(f"{run.generation(arm, number)}: has no {MANIFEST}, but later generations have one")
    for number, folder in folders.items():
        if number not in committed and number not in missing:
            writing = (
                "being written" if is_locked(run.lock) else "left by an interrupted run; `autophage run` clears it"
            )
            result.notes.append(f"{folder}: uncommitted, not counted ({writing})")
    for number in committed:
        result.generations += 1
        try:
            faults = check(run, arm, number)
            result.faults.extend(faults)
            manifest = read_manifest(run.generation(arm, number))
        except StoreError as error:
            result.faults.append(str(error))
            continue
        if manifest is not None and not faults:
            _verify_corpus(run, manifest, result)


def _generation_folders(run: RunDirectory, arm: str, result: Verification) -> dict[int, Path]:
    folder = run.arms / arm
    folders = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := GENERATION.fullmatch(path.name):
            folders[int(match[1])] = path
        else:
            result.notes.append(f"{path}: is not a generation; ignored")
    return dict(sorted(folders.items()))


def _verify_corpus(run: RunDirectory, manifest: Manifest, result: Verification) -> None:
    """Rows against the manifest's count, and no sample twice. Files are known to be as listed."""
    from autophage.store.corpus import read_corpus

    ids = read_corpus(shards(run, manifest), columns=["sample_id"]).column("sample_id").to_pylist()
    folder = run.generation(manifest.arm, manifest.generation)
    stated = manifest.counts.get("samples")
    result.samples += len(ids)
    if stated != len(ids):
        result.faults.append(f"{folder}: its corpus has {len(ids)} samples, the manifest says {stated}")
    if len(set(ids)) != len(ids):
        result.faults.append(f"{folder}: {len(ids) - len(set(ids))} samples of its corpus are there twice")
    listed = {*manifest.files, MANIFEST}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and str(path.relative_to(folder)) not in listed:
            result.notes.append(f"{path}: not in the manifest; readers ignore it")
