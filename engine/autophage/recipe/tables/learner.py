"""`[learner]`: the kind of model that is trained on its own output."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.table import Fraction, Table

LANGUAGE_MODEL: Final = "language-model"


class LearnerTable(Table):
    """The kind of model that is trained on its own output. Kinds other than language-model are small and run in one process."""

    kind: Literal["language-model", "gaussian", "mixture", "vae", "ngram", "regression", "classifier"] = Field(
        LANGUAGE_MODEL,
        description="Kind of model. language-model: the whole engine. The others are small learners, whose collapse has a closed "
        "form or shows within minutes: gaussian, mixture and vae (arXiv 2305.17493), ngram (the discrete distributions of that "
        "paper), regression (arXiv 2404.01413), classifier (labels filtered by a verifier, arXiv 2406.07515).",
    )
    repetitions: int = Field(
        100,
        ge=1,
        le=100_000,
        description="gaussian, mixture, regression, classifier: independent chains per arm. Intervals are computed over them.",
    )
    components: int = Field(2, ge=1, le=64, description="mixture: number of Gaussian components that are fitted.")
    dimensions: int = Field(10, ge=1, le=1000, description="regression, classifier: number of features.")
    noise: float = Field(
        1.0,
        gt=0,
        description="regression: standard deviation of a label around the prediction of the model that writes it.",
    )
    separation: float = Field(
        1.5,
        gt=0,
        le=10,
        description="classifier: distance of a class mean from the decision boundary, in standard deviations.",
    )
    error: Fraction = Field(0.2, description="classifier: share of human labels that are wrong.")
    keep_right: Fraction = Field(1.0, description="classifier: share of right labels that the verifier keeps.")
    keep_wrong: Fraction = Field(1.0, description="classifier: share of wrong labels that the verifier keeps.")
    order: int = Field(2, ge=1, le=5, description="ngram: number of words in an n-gram. Counts are not smoothed.")
    latent: int = Field(20, ge=1, le=512, description="vae: dimensions of the latent space.")
    hidden: int = Field(400, ge=8, le=8192, description="vae: width of the hidden layer of encoder and decoder.")
