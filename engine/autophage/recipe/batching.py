"""Cohorts: the arms that are sampled in one batch.

The recipe alone decides them, so that a resumed run has the batches of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence

from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe

MOST_MIXED = 16
"""Maximum number of models in one batch of the sampler.

Each takes an adapter slot in device memory and a matrix product of its own.
"""


def streaming(arms: Sequence[Arm]) -> list[str]:
    """Return the names of the arms whose samples reach the trainer in several waves.

    A trainer on several GPUs receives its corpus whole, because every rank needs it. So does an arm with gates, because
    a gate judges all samples at once.
    """
    return [
        arm.name
        for arm in arms
        if arm.recipe.sample.written > arm.recipe.sample.sequences
        and arm.recipe.cluster.trainer_gpus == 1
        and not arm.recipe.gate
    ]


def is_continuous(recipe: Recipe, device: str) -> bool:
    """Return True if an arm joins the running batch of the sampler, False if batches are fixed.

    The default is True on a GPU, where results depend on the batch anyway, and False on a CPU.

    Args:
        device: "cpu", or the name of a GPU.
    """
    if recipe.takes_turns or recipe.sample.beams > 1:
        return False
    return device != "cpu" if recipe.sample.batching == "auto" else recipe.sample.batching == "continuous"


def cohorts_of(arms: Sequence[Arm], *, continuous: bool = False) -> tuple[tuple[str, ...], ...]:
    """Group the names of the arms by the batch in which the sampler takes them.

    Neighbours that together do not fill the sampler share a batch. An arm that trains all weights is alone, because all
    requests of a step share one base model. So is an arm with beam search, which takes one model at a time. With
    `continuous`, every arm is alone.
    """
    cohorts: list[list[str]] = []
    room = 0
    for arm in arms:
        count = arm.recipe.sample.written
        alone = continuous or arm.recipe.model.method == "full" or arm.recipe.sample.beams > 1
        if not cohorts or alone or count > room or len(cohorts[-1]) == MOST_MIXED:
            cohorts.append([])
            room = arm.recipe.sample.sequences
        cohorts[-1].append(arm.name)
        room -= room if alone else count
    return tuple(tuple(cohort) for cohort in cohorts)


def resume_level(device: str, *, continuous: bool = False) -> str:
    """Return the level at which a resumed run equals an uninterrupted one: "exact" (bitwise) or "statistical".

    "exact" needs fixed batches on a CPU. Other rows of a batch change the last bits of a row, and so do GPU kernels.

    Args:
        device: "cpu", or the name of a GPU.
    """
    return "exact" if device == "cpu" and not continuous else "statistical"
