"""The values of a recipe's "auto" keys on a machine: placement, cells and sequences, chosen before anything starts.

    devices                serial on a CPU. On GPUs: disjoint if there are two for each cell, else colocated if sampler and
                           trainer fit side by side, else serial
    cluster.cells_per_gpu  1 / busy, rounded up, if busy < BUSY; bounded by memory, cores and cells. `busy` is the share of the
                           time in which one cell keeps the GPU computing (`speeds.busy_share`)
    cluster.cells          as many as the GPUs hold, at most one for each cohort
    sample.concurrency     256 on a CPU. On a GPU the most of SEQUENCES whose KV cache fits at full length

Pure arithmetic. Does not know where a choice is recorded (`runs.chosen`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autophage.errors import UserError
from autophage.host.machine import nvidia_driver
from autophage.plan.footprint import demand
from autophage.plan.machines import Machine, recognised
from autophage.plan.memory import Demand, divide, sampler_bytes, trainer_bytes
from autophage.plan.shape import Shape, shape_of
from autophage.plan.speeds import PlannedModel, busy_share
from autophage.plan.tokens import workload
from autophage.recipe import LoadedRecipe
from autophage.recipe.arms import Arm
from autophage.recipe.batching import MOST_MIXED, cohorts_of
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.sample import USUAL_SEQUENCES
from autophage.recipe.tables.table import AUTO

SEQUENCES_KEY = "sample.concurrency"
SEQUENCES = (1024, 768, 512, 384, 256)
"""Numbers of sequences that "auto" tries. More than 1,024 add little: the host's time per sequence then bounds a step."""
FEWER_SEQUENCES = (128, 64, 32)
"""Numbers tried where even a quarter of the KV cache of 256 sequences does not fit."""
WITHOUT_GPU = "without a GPU"
"""Reason of every choice on a CPU, where the choices are the same for all recipes."""
BUSY = 0.8
"""Share of the time from which a GPU counts as busy. Sharing it would then gain less than a quarter."""
MOST_PER_GPU = 8
"""Largest "auto" number of cells on a GPU. Each is two processes with libraries of their own, of 2 GiB of memory together."""
CORES_PER_CELL = 2
"""Cores that a cell keeps busy: one for the sampler's Python, one for the trainer's."""


@dataclass(frozen=True)
class Choices:
    """Values for the "auto" keys of a recipe by dotted key, and the reason of each in words."""

    values: Mapping[str, int | str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def applied(self, recipe: Recipe) -> Recipe:
        """Return the recipe with these values."""
        tables: dict[str, dict[str, Any]] = {}
        top: dict[str, Any] = {}
        for dotted, value in self.values.items():
            table, _, name = dotted.rpartition(".")
            (tables.setdefault(table, {}) if table else top)[name] = value
        changed = {name: getattr(recipe, name).model_copy(update=values) for name, values in tables.items()}
        return recipe.model_copy(update={**top, **changed})

    def applied_to_all(self, loaded: LoadedRecipe) -> LoadedRecipe:
        """Return the loaded recipe with these values, in its arms too. All arms share these keys."""
        arms = [replace(arm, recipe=self.applied(arm.recipe)) for arm in loaded.arms]
        return replace(loaded, recipe=self.applied(loaded.recipe), arms=arms)

    def sentences(self) -> list[str]:
        """Return one line for each chosen value: key, value, reason."""
        return [f"{key} = {value}: {self.reasons[key]}" for key, value in self.values.items()]


@dataclass(frozen=True)
class Site:
    """Place of a run: the kind of its machines, with the GPUs and the CPU cores of all of them."""

    machine: Machine
    gpus: int
    cores: int | None
    """None is enough: the cores of another machine are not known."""

    @property
    def known(self) -> bool:
        """True if the memory of its GPUs is known."""
        return self.gpus > 0 and self.machine.kind == "gpu"


def site_on(machine: Machine, gpus: int | None = None) -> Site:
    """Return the site of a machine with `gpus` GPUs; by default those of this machine, one of another, none on a CPU."""
    driver, _ = nvidia_driver() if machine.kind == "gpu" else (None, "")
    is_here = driver is not None and bool(driver.gpus) and recognised(driver.gpus[0]) == machine
    there = len(driver.gpus) if driver is not None and is_here else 1
    count = (there if gpus is None else gpus) if machine.kind == "gpu" else 0
    return Site(machine, count, len(os.sched_getaffinity(0)) if is_here else None)


def decide(
    recipe: Recipe, arms: Sequence[Arm], site: Site, sequences: int | None = None, *, divided: bool = False
) -> Choices:
    """Return the values of a recipe's "auto" keys at a site.

    Args:
        divided: True if the arms are divided among all GPUs of the site, whatever `cluster.cells` says.
        sequences: The number of sequences with which this run started. It is kept if it fits, because batches decide the
            last bits of results. The other keys only move work between devices.
    """
    wanted = [key for key, value in _autos(recipe).items() if value == AUTO]
    if not wanted:
        return Choices()
    shape = shape_of(recipe)
    if divided:
        recipe = Choices({"cluster.cells": AUTO}).applied(recipe)
    found = _usual(recipe, site, shape) if shape is None or not site.known else _on_gpus(recipe, arms, shape, site)
    chosen = {key: found[key] for key in wanted}
    if SEQUENCES_KEY in chosen and sequences not in (None, chosen[SEQUENCES_KEY][0]):
        assert sequences is not None
        if shape is None or not site.known or _still_fits(recipe, arms, shape, site, chosen, sequences):
            chosen[SEQUENCES_KEY] = sequences, "as when this run started"
    return Choices({key: value for key, (value, _) in chosen.items()}, {key: why for key, (_, why) in chosen.items()})


def _autos(recipe: Recipe) -> dict[str, object]:
    cluster = recipe.cluster
    return {
        "devices": recipe.devices,
        "cluster.cells_per_gpu": cluster.cells_per_gpu,
        "cluster.cells": cluster.cells,
        SEQUENCES_KEY: recipe.sample.concurrency,
    }


Chosen = dict[str, tuple[int | str, str]]
"""Value and reason by dotted key."""


def _usual(recipe: Recipe, site: Site, shape: Shape | None) -> Chosen:
    """Return the choices without a GPU, or where the memory of the GPU or the size of the model is unknown."""
    why = WITHOUT_GPU
    if site.gpus:
        why = "the GPU's memory is not known" if shape else "the model's size is not known before it is loaded"
    several = recipe.cluster.sampler_gpus > 1 or recipe.cluster.trainer_gpus > 1
    devices = "disjoint" if site.gpus and several else "serial"
    one = (1, why)
    return {
        "devices": (devices, "a side has several GPUs" if devices == "disjoint" else why),
        "cluster.cells_per_gpu": one,
        "cluster.cells": one,
        SEQUENCES_KEY: (USUAL_SEQUENCES, why),
    }


def _on_gpus(recipe: Recipe, arms: Sequence[Arm], shape: Shape, site: Site) -> Chosen:
    asked = _largest(recipe, arms, shape, site.machine)
    memory = site.machine.memory_bytes
    devices = (recipe.devices, "") if recipe.devices != AUTO else _devices(recipe, len(arms), asked, site)
    sharing = (recipe.cluster.sharing, "")
    if recipe.cluster.cells_per_gpu == AUTO:
        sharing = _sharing(recipe, arms, shape, site, asked, devices[0])
    cells = _cells(recipe, arms, site, devices[0], sharing[0])
    requests = sum(arm.recipe.sample.written for arm in arms)
    sequences = _sequences(memory // sharing[0], asked, devices[0], requests)
    return {
        "devices": devices,
        "cluster.cells_per_gpu": sharing,
        "cluster.cells": cells,
        SEQUENCES_KEY: sequences,
    }


def _largest(recipe: Recipe, arms: Sequence[Arm], shape: Shape, machine: Machine) -> Demand:
    """Return the demand of the arm that needs most memory, with the usual number of sequences."""
    slots = min(len(arms), MOST_MIXED)  # on a GPU arms join the running batch
    gpus = (recipe.cluster.sampler_gpus, recipe.cluster.trainer_gpus)
    asked = [demand(machine, arm.recipe, shape, gpus, slots) for arm in arms]
    return max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)


def _devices(recipe: Recipe, arms: int, asked: Demand, site: Site) -> tuple[str, str]:
    cluster = recipe.cluster
    if cluster.sampler_gpus > 1 or cluster.trainer_gpus > 1:
        return "disjoint", "a side has several GPUs"
    cells = arms if cluster.cells == AUTO else math.ceil(cluster.cells / cluster.sharing)
    if site.gpus >= 2 * cells:
        return "disjoint", f"{site.gpus} GPUs for {cells} cell{'s' * (cells > 1)}"
    part = site.machine.memory_bytes // cluster.sharing
    if divide(part, asked, "colocated").fits:
        return "colocated", "sampler and trainer fit side by side"
    return "serial", "sampler and trainer do not fit side by side, so they take turns"


def _sharing(
    recipe: Recipe, arms: Sequence[Arm], shape: Shape, site: Site, asked: Demand, devices: str
) -> tuple[int, str]:
    """Return the number of cells on a GPU, with the bound that decided."""
    if recipe.cluster.sampler_gpus > 1 or recipe.cluster.trainer_gpus > 1:
        return 1, "a side has several GPUs"
    one = arms[0].recipe
    works = [workload(one, generation) for generation in range(min(one.generations, 2) + 1)]
    model = PlannedModel(shape, one.model.rank, one.model.method == "full")
    busy = busy_share(site.machine, model, works, overlap=devices != "serial" and len(arms) > 1)
    idle = f"by estimate one cell keeps the GPU busy for {busy:.0%} of the time"
    if busy >= BUSY:
        return 1, idle
    cells = len(cohorts_of(arms, continuous=True)) if recipe.cluster.cells == AUTO else recipe.cluster.cell_count
    bounds = {
        idle: math.ceil(1 / busy) if busy else MOST_PER_GPU,
        f"{idle}; at most {MOST_PER_GPU}": MOST_PER_GPU,
        f"{idle}; {site.cores} CPU cores": MOST_PER_GPU
        if site.cores is None
        else max(1, site.cores // CORES_PER_CELL // site.gpus),
        f"{idle}; {cells} cell{'s' * (cells > 1)}": cells,
        f"{idle}; memory": _most(site.machine.memory_bytes, asked, devices),
    }
    why = min(bounds, key=lambda words: bounds[words])
    return bounds[why], why


def _most(memory: int, asked: Demand, devices: str) -> int:
    """Return the largest number of cells, at least 1, of which each fits into its part of a GPU's memory."""
    fitting = [number for number in range(1, MOST_PER_GPU + 1) if divide(memory // number, asked, devices).fits]
    return max(fitting, default=1)


def _cells(recipe: Recipe, arms: Sequence[Arm], site: Site, devices: str, sharing: int) -> tuple[int, str]:
    cluster = recipe.cluster
    each = cluster.sampler_gpus + cluster.trainer_gpus if devices == "disjoint" else 1
    room, cohorts = max(1, site.gpus // each * sharing), len(cohorts_of(arms, continuous=devices != "serial"))
    if cohorts < room:
        return cohorts, f"{cohorts} batch{'es' * (cohorts > 1)} of arms"
    return room, f"{site.gpus} GPU{'s' * (site.gpus > 1)}, {sharing} cell{'s' * (sharing > 1)} on each"


def _sequences(memory: int, asked: Demand, devices: str, requests: int) -> tuple[int, str]:
    """Return the number of sequences of a batch for a part of a GPU's memory."""
    tried = [number for number in SEQUENCES if number == SEQUENCES[-1] or _next_smaller(number) < requests]
    for number in tried:
        division = divide(memory, replace(asked, concurrency=number), devices)
        if division.fits and division.sequences >= number:
            each = sampler_bytes(replace(asked, concurrency=1)).kv
            bound = f"the arms write {requests} samples" if number < SEQUENCES[0] and number == tried[0] else "they fit"
            return number, f"KV cache of {each / 2**20:.0f} MiB for each of {asked.longest} tokens; {bound}"
    for number in (USUAL_SEQUENCES, *FEWER_SEQUENCES):
        if divide(memory, replace(asked, concurrency=number), devices).fits:
            return number, "the KV cache of a part of them fits; the others wait in vLLM's queue"
    return USUAL_SEQUENCES, "no number fits; the refusal names what would"


def _next_smaller(number: int) -> int:
    return max((one for one in SEQUENCES if one < number), default=0)


def _still_fits(recipe: Recipe, arms: Sequence[Arm], shape: Shape, site: Site, chosen: Chosen, sequences: int) -> bool:
    """Return True if an earlier number of sequences fits here too."""
    sharing = int(chosen.get("cluster.cells_per_gpu", (recipe.cluster.sharing, ""))[0])
    devices = str(chosen.get("devices", (recipe.devices, ""))[0])
    asked = replace(_largest(recipe, arms, shape, site.machine), concurrency=sequences)
    return divide(site.machine.memory_bytes // sharing, asked, devices).fits


def require_division(recipe: Recipe, arms: Sequence[Arm], site: Site) -> None:
    """Refuse more cells on a GPU than its memory holds.

    Raises:
        UserError: It names a cell's part of the memory, and a number that fits.
    """
    sharing, shape = recipe.cluster.sharing, shape_of(recipe)
    if sharing == 1 or site.gpus == 0:
        return
    if recipe.cluster.sampler_gpus > 1 or recipe.cluster.trainer_gpus > 1:
        raise UserError(
            f"cluster.cells_per_gpu = {sharing} divides a GPU, but cluster.sampler_gpus = {recipe.cluster.sampler_gpus}, "
            f"cluster.trainer_gpus = {recipe.cluster.trainer_gpus}. Leave both at 1, or cells_per_gpu."
        )
    if recipe.sample.memory is not None and recipe.sample.memory * sharing > 1:
        raise UserError(
            f"cluster.cells_per_gpu = {sharing}: the samplers of a GPU take {sharing} x {recipe.sample.memory:g} of its "
            f"memory. Set sample.memory to less than {1 / sharing:.2g}, or leave it out."
        )
    if shape is None or not site.known:
        return
    asked = replace(_largest(recipe, arms, shape, site.machine), concurrency=recipe.sample.sequences)
    division = divide(site.machine.memory_bytes // sharing, asked, recipe.devices)
    if not division.fits:
        most = _most(site.machine.memory_bytes, asked, recipe.devices)
        whole = divide(site.machine.memory_bytes, asked, recipe.devices).fits
        fits = f" cluster.cells_per_gpu = {most} would fit." if whole else ""
        raise UserError(
            f"cluster.cells_per_gpu = {sharing}: a cell has {1 / sharing:.0%} of a GPU.{fits} {division.reason}"
        )
