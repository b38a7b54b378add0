"""Conflicts in the settings of a small learner. Each check returns a conflict or None."""

from __future__ import annotations

from autophage.recipe.checks.conflict import Conflict
from autophage.recipe.keys import KEYS
from autophage.recipe.schema import Recipe


def too_few_rows(recipe: Recipe) -> Conflict | None:
    """Return a conflict if `sample.count` is too small for the learner's fit, else None.

    Regression on d features needs T >= d + 2 rows. With fewer, E[(X^T X)^-1] of T rows of N(0, I_d) is infinite. A
    variance needs two values.
    """
    learner, count = recipe.learner, recipe.sample.count
    least = {"regression": learner.dimensions + 2, "mixture": max(2, learner.components)}.get(learner.kind, 2)
    if count >= least:
        return None
    about = {
        "regression": f"a fit of learner.dimensions = {learner.dimensions} weights has no finite expected error",
        "mixture": f"learner.components = {learner.components} cannot be fitted",
    }
    wrong = f"sample.count = {count}: {about.get(learner.kind, 'there is no variance')} with fewer than {least} rows"
    keys = ("sample.count", "learner.dimensions" if learner.kind == "regression" else "learner.components")
    return Conflict(keys, wrong, (f"draw at least {least} samples per generation", str(KEYS["sample.count"])))


def verifier_keeps_nothing(recipe: Recipe) -> Conflict | None:
    learner = recipe.learner
    if learner.keep_right + learner.keep_wrong > 0:
        return None
    keys = ("learner.keep_right", "learner.keep_wrong")
    wrong = f"{keys[0]} = 0 and {keys[1]} = 0: the verifier keeps no label, so there is no training data"
    return Conflict(keys, wrong, ("keep some labels", str(KEYS["learner.keep_right"])))
