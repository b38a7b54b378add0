"""Which arms are sampled together: decided by the recipe alone, so that a resumed run has the batches of an undisturbed one."""

from __future__ import annotations

from collections.abc import Sequence

from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe

MOST_MIXED = 16
"""Models in one batch at most: each takes a slot of device memory, and its rows are a product of their own."""


def streaming(arms: Sequence[Arm]) -> list[str]:
    """The arms whose samples come in several waves, so that the first are there long before the last.

    A trainer over several GPUs is handed its corpus whole: every rank needs it. So is one whose samples are judged, because
    a gate sees all of them.
    """
    return [
        arm.name
        for arm in arms
        if arm.recipe.sample.written > arm.recipe.sample.concurrency
        and arm.recipe.cluster.trainer_gpus == 1
        and not arm.recipe.gate
    ]


def is_continuous(recipe: Recipe, device: str) -> bool:
    """Whether arms join a running batch. By default where bits depend on the batch anyway and both sides work at once."""
    if recipe.devices == "serial" or recipe.sample.beams > 1:
        return False
    return device != "cpu" if recipe.sample.batching == "auto" else recipe.sample.batching == "continuous"


def cohorts_of(arms: Sequence[Arm], *, continuous: bool = False) -> tuple[tuple[str, ...], ...]:
    """The arms that share a fixed batch: neighbours, as long as together they do not fill the sampler.

    An arm whose whole weights are trained is alone: all requests of a step share one base model. So is one with beams,
    which are searched for a model at a time.
    """
    cohorts: list[list[str]] = []
    room = 0
    for arm in arms:
        count = arm.recipe.sample.written
        alone = continuous or arm.recipe.model.method == "full" or arm.recipe.sample.beams > 1
        if not cohorts or alone or count > room or len(cohorts[-1]) == MOST_MIXED:
            cohorts.append([])
            room = arm.recipe.sample.concurrency
        cohorts[-1].append(arm.name)
        room -= room if alone else count
    return tuple(tuple(cohort) for cohort in cohorts)


def resume_level(device: str, *, continuous: bool = False) -> str:
    """Which of the promises a resumed run keeps: bitwise equal corpora where batches are fixed and on a CPU.

    What else is in a batch changes the last bits of a row, and on a GPU the kernels do.
    """
    return "exact" if device == "cpu" and not continuous else "statistical"
