"""The learner of a `learner.kind`. Each module is imported on request, because only the VAE needs torch."""

from __future__ import annotations

from typing import Any

from autophage.learners.protocol import Learner
from autophage.recipe.schema import Recipe


def learner_of(recipe: Recipe) -> Learner[Any]:
    """Return the learner that `learner.kind` of an arm's recipe names.

    Raises:
        UserError: The learner's source cannot be read.
    """
    kind = recipe.learner.kind
    if kind == "gaussian":
        from autophage.learners.gaussian import Gaussian

        return Gaussian(recipe)
    if kind == "mixture":
        from autophage.learners.mixture import Mixture

        return Mixture(recipe)
    if kind == "vae":
        from autophage.learners.vae import Vae

        return Vae(recipe)
    if kind == "ngram":
        from autophage.learners.ngram import NGram

        return NGram(recipe)
    if kind == "regression":
        from autophage.learners.regression import Regression

        return Regression(recipe)
    if kind == "classifier":
        from autophage.learners.classifier import LinearClassifier

        return LinearClassifier(recipe)
    raise ValueError(f"unknown learner: {kind}")
