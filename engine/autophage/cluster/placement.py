"""Places the cells of a run: the resources that each requests, a check that they exist, and the actors.

A cell's sampler and trainer share one GPU or have GPUs of their own (`devices`). Without GPUs they share cores. A bundle of
resources lies on one machine, because a tensor-parallel sampler is faster than a network. The arithmetic is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autophage.cluster.calls import Actor, Handle
from autophage.cluster.cell_actors import CellActors
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.scheduler import Side
from autophage.cluster.stacks import size_of
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.sampler.arguments import require_served

PLACING_SECONDS = 120.0
"""Longest wait for a placement group. A cluster that is large enough and takes longer is busy with other work."""

Bundle = dict[str, float]
"""Amounts of Ray's resources, by name."""


SMALLEST = 10_000
"""Ray counts resources in units of 1 / `SMALLEST`."""


def fraction(parts: int, sides: int = 1) -> float:
    """Return the largest fraction of a GPU in Ray's units of which `parts` x `sides` fit on it."""
    return SMALLEST // (parts * sides) / SMALLEST


def bundles_of(recipe: Recipe, *, gpus: bool) -> list[Bundle]:
    """Return the resource bundles of one cell: one that both sides share, or the sampler's and the trainer's.

    A cell that shares its GPU with others requests a fraction of it.

    Raises:
        UserError: `devices` shares one GPU and a side requests several, or the sampler cannot serve the type on a GPU.
    """
    cluster, sharing = recipe.cluster, recipe.cluster.sharing
    if not gpus:
        return [{"CPU": float(cluster.cpus)}]
    if recipe.sample.beams == 1:
        require_served(recipe.model.dtype, "cuda")
    if recipe.devices == "disjoint" and sharing > 1:
        return [{"GPU": fraction(sharing), "CPU": float(cluster.cpus)}, {"GPU": fraction(sharing)}]
    if recipe.devices == "disjoint":
        return [
            {"GPU": float(cluster.sampler_gpus), "CPU": float(cluster.cpus)},
            {"GPU": float(cluster.trainer_gpus)},
        ]
    if cluster.sampler_gpus > 1 or cluster.trainer_gpus > 1:
        raise UserError(
            f'devices = "{recipe.devices}" shares one GPU between sampler and trainer, but cluster.sampler_gpus = '
            f"{cluster.sampler_gpus}, cluster.trainer_gpus = {cluster.trainer_gpus}. "
            'Use devices = "disjoint", or leave both at 1.'
        )
    return [{"GPU": 2 * fraction(sharing, sides=2), "CPU": float(cluster.cpus)}]


def fitting(bundles: Sequence[Bundle], nodes: Sequence[Mapping[str, float]]) -> int:
    """Return the number of cells with these bundles that the nodes hold.

    The search is first fit: the largest bundle first, each on one node.
    """
    free = [dict(node) for node in nodes]
    cells = 0
    while all(_take(bundle, free) for bundle in sorted(bundles, key=lambda one: -one.get("GPU", 0.0))):
        cells += 1
    return cells


def _take(bundle: Bundle, free: list[dict[str, float]]) -> bool:
    for node in free:
        if all(node.get(name, 0.0) >= amount for name, amount in bundle.items()):
            for name, amount in bundle.items():
                node[name] = round(node[name] - amount, 4)
            return True
    return False


def require_room(recipe: Recipe, bundles: Sequence[Bundle], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse cells that these nodes can never hold.

    `bundles` are those of one cell, `nodes` the resources of each machine.

    Raises:
        UserError: It names the request, the available resources and a request that fits.
    """
    room = fitting(bundles, nodes)
    if room >= recipe.cluster.cell_count:
        return
    asked = " and ".join(_words(bundle) for bundle in bundles)
    there = "; ".join(_words(node) for node in nodes)
    if room:
        remedy = f"{room} would fit: --set cluster.cells={room}"
    elif recipe.devices == "disjoint" and fitting([{"GPU": 1.0}], nodes):
        remedy = 'none fits; devices = "colocated" or "serial" needs one GPU a cell'
    else:
        remedy = "none fits; lower cluster.cpus, cluster.sampler_gpus or cluster.trainer_gpus, or add a larger machine"
    raise UserError(
        f"cluster.cells = {recipe.cluster.cell_count}: each cell needs {asked}, each on one machine. "
        f"Available: {there or 'no machine'}. {remedy[0].upper()}{remedy[1:]}."
    )


def _words(resources: Mapping[str, float]) -> str:
    parts = [(resources.get("GPU", 0.0), "GPU"), (resources.get("CPU", 0.0), "core")]
    return ", ".join(f"{amount:g} {name}{'s' if amount != 1 else ''}" for amount, name in parts if amount) or "nothing"


def nodes() -> list[Mapping[str, float]]:
    """Return the resources of each machine of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def place(recipe: Recipe, logs: Path, deadlines: Deadlines, *, at_once: int) -> list[CellActors]:
    """Start the sampler and the trainer of every cell, each cell in a placement group of its own.

    Args:
        at_once: Sampling calls that a sampler takes at a time. Their requests share its queue.

    Raises:
        UserError: The machines cannot hold the cells, or are busy with other work.
    """
    there = nodes()
    bundles = bundles_of(recipe, gpus=any(node.get("GPU") for node in there))
    require_room(recipe, bundles, there)
    cells = recipe.cluster.cell_count
    names = [f"cell-{number}" for number in range(cells)] if cells > 1 else [""]
    return [_start_cell(name, bundles, recipe, logs, deadlines, at_once) for name in names]


def _start_cell(
    name: str, bundles: list[Bundle], recipe: Recipe, logs: Path, deadlines: Deadlines, at_once: int
) -> CellActors:
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from autophage.cluster.actors import SamplerActor, TrainerActor

    group = placement_group(bundles, strategy="PACK", name=name)
    if not group.wait(PLACING_SECONDS):
        free = {key: value for key, value in ray.available_resources().items() if key in ("GPU", "CPU")}
        raise UserError(
            f"{name or 'the run'} waited {PLACING_SECONDS:.0f} s for {' and '.join(map(_words, bundles))}. Free now: "
            f"{_words(free)}. Wait until other jobs of the cluster end, or request fewer cells (cluster.cells)."
        )
    shared = len(bundles) == 1
    shares = [bundle.get("GPU", 0.0) / (2 if shared else 1) for bundle in (bundles[0], bundles[-1])]

    def start(side: Side) -> Actor:
        who, index = f"{name}-{side.value}".lstrip("-"), 0 if side is Side.SAMPLER else 1
        log = logs / f"{who}.log"
        options: dict[str, Any] = {
            "num_cpus": 0,
            "num_gpus": shares[index],
            "max_restarts": 0,  # a new process needs its model loaded: `replacements` does both
            "concurrency_groups": {"watch": 1, "probe": 1, "sample": at_once},
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0 if shared else index
            ),
        }
        since = size_of(log)
        placed: Any = ray.remote(**options)
        handle: Handle = (
            placed(SamplerActor).remote(str(log), recipe.sample.beams > 1)
            if side is Side.SAMPLER
            else placed(TrainerActor).remote(str(log), recipe.model_dump_json())
        )
        whereabouts = handle.whereabouts.options(concurrency_group="watch").remote()
        return Actor(who, handle, log, whereabouts, since)

    return CellActors(name, start, deadlines)
