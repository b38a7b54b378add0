"""The choices of a run for its "auto" keys: made when it starts, recorded in `environment.json`, compared on a resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autophage.plan.choices import SEQUENCES_KEY, Choices, Site, decide, require_division
from autophage.plan.machines import Machine, here, machines, recognised
from autophage.recipe import LoadedRecipe

FACT = "choices"
"""Name of the choices among the facts of `environment.json`: key to value and reason."""
GPU_KIND = "accelerator_type:"
"""Prefix of the resource by which Ray states the model of a node's GPUs."""


def site_of(nodes: Sequence[Mapping[str, float]]) -> Site:
    """Return the site of a run on Ray's nodes, each given by its resources.

    The driver's own GPUs count first. Those of another machine are recognised by Ray's name for them.
    """
    gpus, cores = (round(sum(node.get(name, 0.0) for node in nodes)) for name in ("GPU", "CPU"))
    machine = here()
    if gpus and machine.kind != "gpu":
        machine = _named_by_ray(nodes) or machine
    return Site(machine, gpus, cores)


def _named_by_ray(nodes: Sequence[Mapping[str, float]]) -> Machine | None:
    """Return the machine of the nodes' GPUs; the one with least memory, and None if none is known."""
    words = {name.removeprefix(GPU_KIND) for node in nodes for name in node if name.startswith(GPU_KIND)}
    known = [machine for machine in machines().values() if machine.kind == "gpu"]
    found = [machine for machine in known for word in words if machine.gpu in word]
    return recognised(min(found, key=lambda one: one.memory_gib).gpu) if found else None


def settle(loaded: LoadedRecipe, site: Site, before: Mapping[str, Any]) -> tuple[LoadedRecipe, Choices, list[str]]:
    """Choose the values of "auto" keys. Return the recipe with them, the choices, and notes for the user.

    Args:
        before: `environment.json` of a run that is resumed; else empty.

    Raises:
        UserError: `cluster.cells_per_gpu` cells do not fit on a GPU.
    """
    recorded = {key: one["value"] for key, one in before.get(FACT, {}).items()}
    choices = decide(loaded.recipe, loaded.arms, site, recorded.get(SEQUENCES_KEY))
    notes = choices.sentences() if site.gpus else []
    notes += [
        f"{key} was {recorded[key]} when this run started and is now {value}"
        + (": last bits may differ from here on" if key == SEQUENCES_KEY else "")
        for key, value in choices.values.items()
        if recorded.get(key, value) != value
    ]
    settled = choices.applied_to_all(loaded)
    require_division(settled.recipe, settled.arms, site)
    return settled, choices, notes


def as_facts(choices: Choices) -> dict[str, dict[str, int | str]]:
    """Return choices in the form that `environment.json` keeps."""
    return {key: {"value": value, "reason": choices.reasons[key]} for key, value in choices.values.items()}
