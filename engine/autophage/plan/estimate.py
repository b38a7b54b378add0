"""The plan of a recipe on a machine, put together from counts, speeds and bytes. Nothing is loaded or run.

A figure that needs the weights is None, not a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autophage.plan.assumptions import assumptions
from autophage.plan.choices import Site, decide, require_division, site_on
from autophage.plan.footprint import Memory, disk_bytes, memory
from autophage.plan.machines import Machine, SpeedRow, rows_of
from autophage.plan.shape import Shape, shape_of
from autophage.plan.speeds import (
    STAGES,
    PlannedModel,
    base_seconds,
    cells_seconds,
    stage_seconds,
    start_seconds,
)
from autophage.plan.tokens import Workload, workload
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE


@dataclass(frozen=True)
class Speeds:
    """Tokens per second of sampling and training that the user states. None takes the speed of the machine."""

    sample: float | None = None
    train: float | None = None


@dataclass(frozen=True)
class Layout:
    """Number of cells, and of the GPUs of the sampler and the trainer in each.

    A cell is one sampler with one trainer. The cells divide the arms among them. `cells_per_gpu` of them share a GPU.
    """

    cells: int = 1
    sampler_gpus: int = 1
    trainer_gpus: int = 1
    cells_per_gpu: int = 1

    def gpus(self, devices: str) -> int:
        """Return the number of GPUs of the whole run.

        Sampler and trainer share theirs unless `devices`, the recipe's value, is "disjoint".
        """
        own = self.sampler_gpus + self.trainer_gpus
        each = own if devices == "disjoint" else max(self.sampler_gpus, self.trainer_gpus)
        return math.ceil(self.cells / self.cells_per_gpu) * each


@dataclass(frozen=True)
class ArmPlan:
    """Planned cost of one arm over all generations.

    `sampled`, `trained` and `measured` count tokens. `generations[g]` maps the stages of generation g to seconds.
    Without the model's size, `generations` is empty and `disk_bytes` is None.
    """

    name: str
    control: bool
    settings: dict[str, object]
    sampled: int
    trained: int
    measured: int
    disk_bytes: float | None
    generations: list[dict[str, float]]

    @property
    def seconds(self) -> float | None:
        return sum(sum(stages.values()) for stages in self.generations) if self.generations else None


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a run, in bytes and seconds. `cost` is in the currency of the price.

    `overlap` is True if sampler and trainer work at once. `stages` maps each stage to its seconds over all arms and
    generations. `first` maps each stage to the extra seconds of its first time. `basis` names the origin of the speeds.
    `choices` states the values of "auto" keys, with reasons. A figure that needs the unknown size of a model is None.
    """

    machine: str
    basis: str
    devices: str
    choices: list[str]
    layout: Layout
    overlap: bool
    gpus: int
    arms: list[ArmPlan]
    parameters: int | None
    parameters_from: str
    start_seconds: float
    first: dict[str, float]
    base_seconds: float
    stages: dict[str, float]
    seconds: float | None
    memory: Memory | None
    disk_bytes: float | None
    cost: float | None
    assumptions: list[str]


def plan(
    recipe: Recipe,
    arms: Sequence[Arm],
    machine: Machine,
    *,
    speeds: Speeds | None = None,
    gpus: int | None = None,
    price_per_hour: float | None = None,
    base_cached: bool = False,
    site: Site | None = None,
) -> Plan:
    """Estimate the time, memory, disk space and cost of a recipe on `machine`. Nothing is loaded or run.

    Args:
        arms: The arms that `recipe` expands to.
        speeds: Speeds that replace the machine's.
        gpus: Number of GPUs of the whole run; None takes the recipe's `[cluster]`.
        price_per_hour: Price of the whole machine per hour; None leaves the cost out.
        base_cached: True if the `from-source` base model is trained already.
        site: Place for which "auto" keys are chosen. None takes `machine` with `gpus` GPUs.

    Raises:
        UserError: `cluster.cells_per_gpu` cells do not fit on a GPU.
    """
    site = site or site_on(machine, gpus)
    choices = decide(recipe, arms, site, divided=gpus is not None)
    recipe, arms = choices.applied(recipe), [replace(arm, recipe=choices.applied(arm.recipe)) for arm in arms]
    require_division(recipe, arms, site)
    rows = rows_of(machine)
    shape = shape_of(recipe)
    layout = layout_of(recipe, gpus)
    begun, first = start_seconds(machine, rows, shape.parameters if shape else 0)
    sharing = min(layout.cells_per_gpu, layout.cells)
    made = [_arm_plan(arm, shape, machine, rows, speeds or Speeds(), sharing) for arm in arms]
    based = 0.0 if base_cached or recipe.model.path != FROM_SOURCE else base_seconds(machine, rows, recipe)
    overlap = overlaps(recipe, machine)
    seconds = None
    if shape is not None:
        working = cells_seconds([arm.generations for arm in made], layout.cells, overlap=overlap)
        seconds = begun + sum(first.values()) + based + working
    return Plan(
        machine=machine.name,
        basis=basis(machine, rows),
        devices=recipe.devices,
        choices=choices.sentences(),
        layout=layout,
        overlap=overlap,
        gpus=layout.gpus(recipe.devices) if machine.kind == "gpu" else 0,
        arms=made,
        parameters=shape.parameters if shape else None,
        parameters_from=shape.origin if shape else "unknown: the model is not here and its name has no size",
        start_seconds=begun,
        first=first,
        base_seconds=based,
        stages=_totals(made),
        seconds=seconds,
        memory=memory(machine, recipe, arms, shape, (layout.sampler_gpus, layout.trainer_gpus)) if shape else None,
        disk_bytes=sum(arm.disk_bytes or 0.0 for arm in made) if shape else None,
        cost=None if price_per_hour is None or seconds is None else price_per_hour * seconds / 3600,
        assumptions=assumptions(
            recipe, machine, basis(machine, rows), overlap=overlap, base_cached=base_cached, sharing=sharing
        ),
    )


def layout_of(recipe: Recipe, gpus: int | None = None) -> Layout:
    """Return the cells of a run and their GPUs, as the recipe's `[cluster]` states them.

    Args:
        gpus: Number of GPUs of the whole run. If given, the layout has as many cells as fit, at least one.
    """
    cluster = recipe.cluster
    layout = Layout(cluster.cell_count, cluster.sampler_gpus, cluster.trainer_gpus, cluster.sharing)
    if gpus is None:
        return layout
    places = max(1, gpus // replace(layout, cells=1).gpus(recipe.devices))
    return replace(layout, cells=places * cluster.sharing)


def overlaps(recipe: Recipe, machine: Machine) -> bool:
    """Return True if sampler and trainer gain by working at once.

    On a CPU they share the cores and gain nothing. With `devices = "serial"` they take turns.
    """
    return machine.kind == "gpu" and not recipe.takes_turns


def basis(machine: Machine, rows: Sequence[SpeedRow]) -> str:
    """Return the origin of a machine's speeds in words.

    It is the measured runs of `rows`. Without rows, it is the machine's own note.
    """
    if not rows:
        return machine.origin
    return f"measured: {len(rows)} run{'s' * (len(rows) > 1)} ({', '.join(sorted({row.recipe for row in rows}))})"


def _arm_plan(
    arm: Arm, shape: Shape | None, machine: Machine, rows: Sequence[SpeedRow], speeds: Speeds, sharing: int
) -> ArmPlan:
    recipe = arm.recipe
    works = [workload(recipe, generation) for generation in range(recipe.generations + 1)]
    model = PlannedModel(shape, recipe.model.rank, recipe.model.method == "full") if shape else None
    return ArmPlan(
        name=arm.name,
        control=arm.control,
        settings=arm.settings,
        sampled=round(sum(one.sample.tokens for one in works)),
        trained=round(sum(one.train.tokens for one in works)),
        measured=round(sum(one.measure.read for one in works)),
        disk_bytes=disk_bytes(recipe, model) if model else None,
        generations=[_generation(machine, rows, model, one, speeds, sharing) for one in works] if model else [],
    )


def _generation(
    machine: Machine, rows: Sequence[SpeedRow], model: PlannedModel, one: Workload, speeds: Speeds, sharing: int
) -> dict[str, float]:
    seconds = stage_seconds(machine, rows, model, one, sharing)
    if speeds.sample:
        seconds["sample"] = one.sample.tokens / speeds.sample
    if speeds.train:
        seconds["train"] = one.train.tokens / speeds.train
    return seconds


def _totals(arms: Sequence[ArmPlan]) -> dict[str, float]:
    every: list[Mapping[str, float]] = [stages for arm in arms for stages in arm.generations]
    return {stage: sum(stages[stage] for stages in every) for stage in STAGES} if every else {}
