"""Contents of a run directory as plain values: recipe, arms, manifests, metrics, events, environment.

The module reads all files but the corpora (`corpora`). Manifests are the truth. After a crash between commit and
table, `metrics.parquet` lacks a generation. Its metrics are then read from the generation's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autophage.recipe import Recipe, expand, read_resolved
from autophage.report.facts.series import Metrics
from autophage.store.atomic import sha256
from autophage.store.lock import is_locked
from autophage.store.manifest import MANIFEST, METRICS, Manifest, committed, read_metrics
from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory, read_events


@dataclass(frozen=True)
class ArmFacts:
    """Recipe and committed generations of one arm.

    `manifests` and `hashes` (SHA-256 of the manifest) have one entry for each committed generation. `recipe` is None
    for an arm that has metrics and is not in the recipe. `control_name` names the arm that is its control.
    """

    name: str
    control: bool
    recipe: Recipe | None
    manifests: list[Manifest]
    hashes: list[str]
    control_name: str | None = None

    @property
    def last(self) -> int:
        """Number of the last committed generation; -1 if there is none."""
        return len(self.manifests) - 1


@dataclass(frozen=True)
class RunFacts:
    """Content of a run directory other than its corpora. The run may be unfinished.

    `rows` are the rows of the metrics table. `running` is True while a process holds the run's lock.
    """

    recipe: Recipe
    recipe_text: str
    arms: list[ArmFacts]
    metrics: Metrics
    rows: list[dict[str, Any]]
    events: list[dict[str, Any]]
    environment: dict[str, Any]
    running: bool

    @property
    def generations(self) -> int:
        return self.recipe.generations

    @property
    def horizon(self) -> int:
        """Last generation of a time axis: that of the recipe, or a later one that has metrics."""
        return max([self.generations, *(int(row["generation"]) for row in self.rows)])

    @property
    def complete(self) -> bool:
        return all(arm.last >= self.generations for arm in self.arms if arm.recipe is not None)

    @property
    def treated(self) -> list[ArmFacts]:
        """Arms that train on synthetic data: all but the controls."""
        return [arm for arm in self.arms if not arm.control]

    @property
    def controls(self) -> list[ArmFacts]:
        return [arm for arm in self.arms if arm.control]

    @property
    def knows_facts(self) -> bool:
        """True if the accuracy of answers to probes was measured. The built-in world has probes, a text has none."""
        return self.metrics.has("knowledge/accuracy") or self.metrics.has("knowledge/accuracy.torso")

    def control_of(self, arm: ArmFacts) -> ArmFacts | None:
        """Return the control that differs from `arm` only in the author of its training text.

        Else return the run's only control. Without either the result is None.
        """
        for control in self.controls:
            if control.name == arm.control_name:
                return control
        return self.controls[0] if len(self.controls) == 1 else None


def load(run: RunDirectory) -> RunFacts:
    """Read everything in a run directory but its corpora.

    Raises:
        UserError: The directory holds no run that this version can read.
    """
    recipe = read_resolved(run.require().recipe)
    text = run.recipe.read_text("utf-8")
    manifests = {arm.name: committed(run, arm.name) for arm in expand(recipe)}
    rows = _metric_rows(run, manifests)
    metrics = Metrics(rows)
    arms = [
        ArmFacts(
            arm.name, arm.control, arm.recipe, manifests[arm.name], _hashes(run, manifests[arm.name]), arm.control_name
        )
        for arm in expand(recipe)
    ]
    arms += [ArmFacts(name, False, None, [], []) for name in metrics.arms if name not in manifests]
    return RunFacts(
        recipe, text, arms, metrics, rows, list(read_events(run.events)), run.read_environment(), is_locked(run.lock)
    )


def _metric_rows(run: RunDirectory, manifests: Mapping[str, list[Manifest]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_metrics_table(run).to_pylist()
    known = {(row["arm"], row["generation"]) for row in rows}
    for arm, generations in manifests.items():
        for manifest in generations:
            folder = run.generation(arm, manifest.generation)
            if (arm, manifest.generation) not in known and (folder / METRICS).is_file():
                metrics = read_metrics(folder)
                rows += [{"arm": arm, "generation": manifest.generation, **vars(metric)} for metric in metrics]
    return rows


def _hashes(run: RunDirectory, manifests: list[Manifest]) -> list[str]:
    return [sha256(run.generation(manifest.arm, manifest.generation) / MANIFEST) for manifest in manifests]
