"""Reading of the runs of a comparison. A run may be unfinished, being written, or of another version.

`report.facts` reads runs of this version alone. Here a manifest may have other fields, and a recipe other keys. Hashes
are those of the manifests; the files of metrics are compared with them, because they are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.errors import StoreError
from autophage.recipe import Recipe, expand
from autophage.recipe.foreign import ForeignRecipe, read_foreign
from autophage.report.facts.pooling import group_of
from autophage.report.facts.series import Metrics
from autophage.store.atomic import sha256
from autophage.store.lock import is_locked
from autophage.store.manifest import INDENT, MANIFEST, METRICS
from autophage.store.rundir import RunDirectory
from autophage.store.seal import unsealed

SPEED = "speed/"
"""Prefix of metrics that measure time. They differ between any two runs."""
WEIGHTS = ("adapter/", "model/", "learner/")
"""Folders of a generation that hold what was learned."""
UNKNOWN = "unknown"
_SEED = re.compile(r"(?:^|_)seed-(\d+)(?=_|$)")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Committed:
    """Hashes of one committed generation.

    `corpus` has the SHA-256 of each shard, by name. `weights` is the digest of the model. `metrics` covers every metric
    but those of speed.
    """

    generation: int
    corpus: dict[str, str]
    weights: str
    metrics: str


@dataclass(frozen=True)
class ComparedArm:
    """One arm of a run. Arms of one `group` differ in their seed alone."""

    name: str
    group: str
    control: bool
    seed: int | None
    committed: list[Committed]

    @property
    def last(self) -> int:
        """Number of the last committed generation; -1 if there is none."""
        return len(self.committed) - 1


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison. `letter` names it in tables and figures.

    `planned` is the last generation of its recipe, None if this version cannot read it. `notes` are sentences for the
    user about the reading itself.
    """

    letter: str
    directory: RunDirectory
    recipe: Recipe | None
    settings: dict[str, object]
    arms: list[ComparedArm]
    metrics: Metrics
    rows: list[dict[str, Any]]
    environment: dict[str, Any]
    running: bool
    notes: list[str]

    @property
    def path(self) -> Path:
        return self.directory.root

    @property
    def name(self) -> str:
        return str(self.settings.get("name", self.path.name))

    @property
    def planned(self) -> int | None:
        generations = self.settings.get("generations")
        return generations if isinstance(generations, int) else None

    @property
    def reached(self) -> int:
        """Last generation that every arm has committed; -1 if there is none."""
        return min((arm.last for arm in self.arms), default=-1)

    @property
    def finished(self) -> bool:
        return self.planned is not None and self.reached >= self.planned

    @property
    def state(self) -> str:
        """State of the run in words, such as `finished` or `unfinished, 3 of 6 generations`."""
        if self.finished:
            return "finished"
        word = "running" if self.running else "unfinished"
        of = "" if self.planned is None else f" of {self.planned + 1}"
        return f"{word}, {self.reached + 1}{of} generations"

    @property
    def version(self) -> str:
        """Version of autophage that began the run."""
        return str(self.environment.get("autophage") or self.environment.get("packages", {}).get("autophage", UNKNOWN))

    def group(self, name: str) -> list[ComparedArm]:
        return [arm for arm in self.arms if arm.group == name]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(arm.group for arm in self.arms))


def read_compared(run: RunDirectory, letter: str) -> ComparedRun:
    """Read a run for a comparison.

    Raises:
        UserError: The directory holds no run.
        RecipeError: Its recipe is not TOML.
        StoreError: A manifest was changed, or metrics differ from it.
    """
    found = read_foreign(run.require().recipe)
    arms, rows = [], []
    for name, group, control, seed in _arms(run, found):
        committed, metrics = _generations(run, name)
        arms.append(ComparedArm(name, group, control, seed, committed))
        rows += metrics
    notes = []
    if found.unknown:
        notes.append(f"{run.root}: this version does not know {', '.join(found.unknown)}; compared as it is written")
    if found.recipe is None:
        notes.append(f"{run.root}: this version cannot read all of its recipe; its arms are the folders of the run")
    return ComparedRun(
        letter, run, found.recipe, found.settings, arms, Metrics(rows), rows, run.read_environment(), is_locked(run.lock), notes
    )  # fmt: skip


def _arms(run: RunDirectory, found: ForeignRecipe) -> list[tuple[str, str, bool, int | None]]:
    """Return the arms of a run as (name, group, is a control, seed). Without a recipe, folders and names tell them."""
    if found.recipe is not None:
        return [(arm.name, group_of(arm), arm.control, arm.recipe.seed) for arm in expand(found.recipe)]
    names = sorted(path.name for path in run.arms.iterdir() if path.is_dir()) if run.arms.is_dir() else []
    seed = found.settings.get("seed")
    return [
        (
            name,
            _SEED.sub("", name).lstrip("_") or "main",
            name.startswith("control"),
            int(swept[1]) if (swept := _SEED.search(name)) else seed if isinstance(seed, int) else None,
        )
        for name in names
    ]


def _generations(run: RunDirectory, arm: str) -> tuple[list[Committed], list[dict[str, Any]]]:
    """Return the committed generations of an arm, and the rows of their metrics."""
    committed: list[Committed] = []
    rows: list[dict[str, Any]] = []
    while (folder := run.generation(arm, len(committed))).joinpath(MANIFEST).is_file():
        manifest = unsealed(folder / MANIFEST, INDENT)
        hashes = {str(name): str(facts.get("sha256")) for name, facts in manifest.get("files", {}).items()}
        metrics = _metrics(folder / METRICS, hashes.get(METRICS))
        committed.append(_committed(len(committed), manifest, hashes, metrics))
        rows += [{"arm": arm, "generation": committed[-1].generation, **row} for row in metrics]
    return committed, rows


def _committed(
    generation: int, manifest: dict[str, Any], hashes: dict[str, str], metrics: list[dict[str, Any]]
) -> Committed:
    learned = {name: one for name, one in hashes.items() if name.startswith(WEIGHTS)}
    digest = manifest.get("weights", {}).get("digest") or _hash(learned)
    told = sorted((row for row in metrics if not row["metric"].startswith(SPEED)), key=lambda row: str(row["metric"]))
    corpus = {name: one for name, one in hashes.items() if name.startswith("corpus-")}
    return Committed(generation, corpus, str(digest), _hash(told))


def _metrics(path: Path, expected: str | None) -> list[dict[str, Any]]:
    """Read the metrics of a generation. Fields that this version does not know are left out."""
    if expected is not None and (not path.is_file() or sha256(path) != expected):
        raise StoreError(f"{path}: differs from its manifest. `autophage verify` lists the faults of the run.")
    try:
        rows = json.loads(path.read_text("utf-8")) if path.is_file() else []
        return [
            {"metric": str(row["metric"]), **{name: row.get(name) for name in ("value", "low", "high", "n")}}
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: holds no metrics that can be read ({error})") from error


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
