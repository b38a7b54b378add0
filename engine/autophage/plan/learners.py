"""Plan a run of a learner that is no language model: samples, rows of each fit, bytes on disk.

Such a run takes seconds or minutes on any machine. Its time is not estimated, because fits end when they converge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autophage.plan.tokens import WORLD_DOCUMENT_TOKENS
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe

FLOAT = 4
PIXELS = 28 * 28
IMAGE_SHARE = 0.35
"""Compressed size (zstd) of an image of floats, relative to its uncompressed size. Its pixels have 256 levels."""
TOKEN_BYTES = 24
"""Compressed bytes of a word with its statistics in a corpus of texts."""
FILES = 6000
"""Bytes on disk of a generation's metrics, manifest and settings."""


@dataclass(frozen=True)
class LearnerArm:
    """Planned cost of one arm whose learner is no language model.

    `samples` counts the samples of all generations, `fitted` the rows of the last fit.
    """

    name: str
    control: bool
    settings: dict[str, object]
    samples: int
    fitted: int
    disk_bytes: float


@dataclass(frozen=True)
class LearnerPlan:
    kind: str
    generations: int
    arms: list[LearnerArm]
    disk_bytes: float


def learner_plan(recipe: Recipe, arms: Sequence[Arm]) -> LearnerPlan:
    """Return the planned samples, rows and bytes of a run whose learner is no language model.

    Args:
        arms: The arms that `recipe` expands to.
    """
    made = [_arm(arm) for arm in arms]
    return LearnerPlan(recipe.learner.kind, recipe.generations, made, sum(arm.disk_bytes for arm in made))


def _arm(arm: Arm) -> LearnerArm:
    recipe = arm.recipe
    models, count = recipe.generations + 1, recipe.sample.count
    fitted = count * models if recipe.mix.pool == "accumulate" else count
    disk = models * (count * _row_bytes(recipe) + _state_bytes(recipe) + FILES)
    return LearnerArm(arm.name, arm.control, arm.settings, models * count, fitted, disk)


def _row_bytes(recipe: Recipe) -> float:
    learner = recipe.learner
    if learner.kind == "vae":
        return FLOAT * PIXELS * IMAGE_SHARE
    if learner.kind == "ngram":
        return TOKEN_BYTES * WORLD_DOCUMENT_TOKENS
    features = learner.dimensions
    width = {"gaussian": 1, "mixture": 2, "regression": features + 1, "classifier": features + 3}[learner.kind]
    return FLOAT * learner.repetitions * width


def _state_bytes(recipe: Recipe) -> float:
    learner = recipe.learner
    if learner.kind == "vae":
        return FLOAT * (2 * PIXELS * learner.hidden + 3 * learner.hidden * learner.latent)
    if learner.kind == "ngram":  # at most an n-gram for every word
        return (FLOAT * learner.order + 8) * recipe.sample.count * WORLD_DOCUMENT_TOKENS / 4
    width = {"gaussian": 2, "mixture": 7 * learner.components}.get(learner.kind, learner.dimensions)
    return 8 * learner.repetitions * width
