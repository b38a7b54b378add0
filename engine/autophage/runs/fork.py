"""`run RECIPE --out NEW --fork-from RUN@GEN`: a run that begins with generations 0 to GEN of another run.

The generations are copied. Each manifest gets a note of its origin and a parent in the new run. The chain of hashes
therefore holds there. `fork.json` names the origin and is written before the recipe, so that an interrupted fork
resumes copying.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from autophage.errors import StoreError, UserError
from autophage.host.versions import machine_facts
from autophage.recipe import LoadedRecipe, expand, read_resolved
from autophage.recipe.arms import Arm
from autophage.recipe.resolved import describe_difference
from autophage.store.atomic import replacing, sha256
from autophage.store.fault_points import reach
from autophage.store.manifest import (
    MANIFEST,
    Manifest,
    check,
    clear_uncommitted,
    committed,
    true_file,
    write_manifest,
)
from autophage.store.rundir import RunDirectory

FIXED = ("model", "base", "learner", "source", "questions")
"""Recipe tables that a fork shares with its origin, because its first generations were made with them."""


@dataclass(frozen=True)
class Origin:
    """The run that a fork begins with, and the number of the last generation that it copies."""

    run: RunDirectory
    generation: int


def parse_origin(text: str) -> Origin:
    """Return the run and the generation that the text `RUN@GEN` names, such as runs/demo@3.

    Raises:
        UserError: The text has another form.
    """
    if not (match := re.fullmatch(r"(.+)@(\d+)", text)):
        raise UserError(f"--fork-from {text}: give a run directory and one of its generations, such as runs/demo@3.")
    return Origin(RunDirectory(match[1]), int(match[2]))


def plan_fork(loaded: LoadedRecipe, run: RunDirectory, origin: Origin) -> dict[str, Any]:
    """Check a fork from `origin` into `run`, and return the content of its `fork.json`. Nothing is written.

    Raises:
        UserError: The origin has no such generation, the recipe does not fit its generations, or `run` holds another
            run.
        StoreError: A generation of the origin differs from its manifest.
    """
    origin.run.require()
    if loaded.recipe.generations <= origin.generation:
        raise UserError(
            f"generations = {loaded.recipe.generations} leaves nothing to make after generation {origin.generation} of "
            f"{origin.run.root}. Ask for more generations, or fork from an earlier one."
        )
    parents = expand(read_resolved(origin.run.recipe))
    arms = {}
    for arm in loaded.arms:
        parent = _parent_of(arm, parents, origin)
        _require_same_basis(arm, parent, origin)
        _require_true(origin, parent.name)
        newest = origin.run.generation(parent.name, origin.generation) / MANIFEST
        arms[arm.name] = {"arm": parent.name, "manifest": sha256(newest)}
    facts = {"generation": origin.generation, "arms": arms}
    if run.exists and _facts(run.read_fork()) != facts:
        raise UserError(
            f"{run.root}: holds a run that is no fork from generation {origin.generation} of {origin.run.root}. "
            "Give another --out."
        )
    return {"run": os.path.relpath(origin.run.root, run.root), **facts}


def begin_fork(run: RunDirectory, plan: dict[str, Any] | None) -> None:
    """Write `fork.json` of a new run. If `plan` is None, the run is no fork and nothing is written."""
    if plan is not None and not run.exists:
        run.write_fork(plan)


def copy_fork(run: RunDirectory) -> list[str]:
    """Copy the generations of the origin that a fork still lacks.

    Returns:
        Notes for the user about the copies; empty if none was needed.

    Raises:
        UserError: The origin is missing or changed, though generations must still be copied.
    """
    fork = run.read_fork()
    lacking = {
        arm: source for arm, source in fork.get("arms", {}).items() if len(committed(run, arm)) <= fork["generation"]
    }
    if not lacking:
        return []
    origin = Origin(RunDirectory(os.path.normpath(run.root / fork["run"])), fork["generation"])
    origin.run.require()
    if not any(committed(run, arm) for arm in fork["arms"]):
        model = origin.run.read_environment().get("model", {})
        run.write_environment({**machine_facts(), "model": model, "recipe": sha256(run.recipe), "forked_from": fork})
    for arm, source in lacking.items():
        newest = origin.run.generation(source["arm"], origin.generation) / MANIFEST
        if not newest.is_file() or sha256(newest) != source["manifest"]:
            raise UserError(
                f"{newest}: is not the generation that {run.root} was forked from. Restore it, or give another --out."
            )
        for generation in range(len(committed(run, arm)), origin.generation + 1):
            _copy(run, arm, origin.run, committed(origin.run, source["arm"])[generation])
    return [f"forked from generation {origin.generation} of {origin.run.root}: {', '.join(lacking)}"]


def _facts(fork: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `fork.json` without the path of the origin, which may have moved."""
    return {name: value for name, value in fork.items() if name != "run"}


def _parent_of(arm: Arm, parents: Sequence[Arm], origin: Origin) -> Arm:
    """Return the arm of the origin that `arm` continues.

    It has the same name. Failing that, it is the only one of its kind, which is control or not.

    Raises:
        UserError: Several arms of the origin would do, or none.
    """
    if named := [parent for parent in parents if parent.name == arm.name]:
        return named[0]
    alike = [parent for parent in parents if parent.control == arm.control]
    if len(alike) == 1:
        return alike[0]
    names = ", ".join(parent.name for parent in parents)
    raise UserError(
        f"--fork-from: {origin.run.root} has no arm {arm.name}, and several arms could stand in for it ({names}). "
        "Keep the names of its arms: sweep the same keys over the same values."
    )


def _require_same_basis(arm: Arm, parent: Arm, origin: Origin) -> None:
    differences = [
        one for one in describe_difference(parent.recipe, arm.recipe) if one.partition(".")[0].split(":")[0] in FIXED
    ]
    if differences:
        listed = "\n  ".join(differences)
        raise UserError(
            f"--fork-from: the origin of {arm.name} has other settings of model or source:\n"
            f"  {listed}\nKeep these as they are in {origin.run.recipe}."
        )


def _require_true(origin: Origin, arm: str) -> None:
    made = len(committed(origin.run, arm))
    if made <= origin.generation:
        newest = f"its newest is {made - 1}" if made else "it has none"
        raise UserError(f"--fork-from: {origin.run.root} has no generation {origin.generation} of {arm}; {newest}.")
    for generation in range(origin.generation + 1):
        if faults := check(origin.run, arm, generation):
            raise StoreError(
                f"{faults[0]}. `autophage verify {origin.run.root}` lists the generations that are intact."
            )


def _copy(run: RunDirectory, arm: str, origin: RunDirectory, manifest: Manifest) -> None:
    """Commit a copy of one generation of the origin as a generation of `arm`."""
    source, folder = origin.generation(manifest.arm, manifest.generation), run.generation(arm, manifest.generation)
    reach("copy", folder)
    clear_uncommitted(folder)
    for name in manifest.files:
        with replacing(folder / name) as temporary:
            shutil.copyfile(true_file(origin, manifest, name), temporary)
    from_where = {"arm": manifest.arm, "manifest": sha256(source / MANIFEST)}
    notes = {**manifest.notes, "forked_from": from_where}
    parent = sha256(run.generation(arm, manifest.generation - 1) / MANIFEST) if manifest.generation else None
    write_manifest(folder, replace(manifest, arm=arm, parent=parent, notes=notes))
