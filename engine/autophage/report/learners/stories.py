"""Figures, metrics and settings of learners that are not language models.

There is one entry for each kind of learner, in the terms of its paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from autophage.recipe.schedule import alpha_words
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.learner import LANGUAGE_MODEL
from autophage.report.figures.planned import FigurePlan

DASHES = "Thin dashed lines are the closed form."


@dataclass(frozen=True)
class Story:
    """Metrics and figures of the report for one kind of learner.

    `told` are the metrics of the sentences. The first is the main one. `figures` come first on the page. `writes` names
    the learner's output.
    """

    told: tuple[str, ...]
    figures: tuple[FigurePlan, ...]
    writes: str = "samples"


STORIES = {
    "gaussian": Story(
        ("learner/variance_median", "learner/variance_about_origin", "learner/w2"),
        (
            FigurePlan(
                "main",
                "A Gaussian fitted to its own samples",
                ("learner/variance_median", "learner/variance", "learner/variance_about_origin", "learner/w2"),
                "In a typical chain the variance vanishes, while its mean over chains stays constant. The fitted means drift at "
                f"random: each generation of M samples adds 1/M of the variance. {DASHES}",
            ),
        ),
    ),
    "mixture": Story(
        ("learner/l2", "learner/cross_entropy", "learner/smallest_weight"),
        (
            FigurePlan(
                "main",
                "A mixture fitted to its own samples",
                ("learner/l2", "learner/cross_entropy", "learner/smallest_weight"),
                "The fitted density leaves the human one. Components shrink to points, and human data become impossible.",
            ),
        ),
    ),
    "vae": Story(
        ("learner/latent_std", "learner/recognised", "learner/reconstruction"),
        (
            FigurePlan(
                "main",
                "Images learnt from generated images",
                ("learner/latent_std", "learner/recognised", "learner/digit_entropy", "learner/reconstruction"),
                "In a collapse, the images contract in the latent space of model 0, and a classifier of human digits no longer "
                "recognises them.",
            ),
        ),
    ),
    "ngram": Story(
        ("learner/support", "fluency/ppl_human", "onpolicy/entropy"),
        (
            FigurePlan(
                "main",
                "N-grams lost and kept",
                ("learner/support", "learner/survival", "fluency/ppl_human", "onpolicy/entropy"),
                "A model that counts its own text loses n-grams and never regains one, unless human text contains it.",
            ),
        ),
        "text",
    ),
    "regression": Story(
        ("learner/test_error",),
        (
            FigurePlan(
                "main",
                "Least squares on its own labels",
                ("learner/test_error",),
                "With replaced data, every generation adds the same error. With accumulated data, the error stays below "
                f"pi^2 / 6 = 1.64 times that of model 0. {DASHES}",
            ),
        ),
    ),
    "classifier": Story(
        ("learner/accuracy", "learner/kept_error"),
        (
            FigurePlan(
                "main",
                "A classifier trained on its own verified labels",
                ("learner/accuracy", "learner/kept_error", "learner/kept"),
                "A loop recovers if the verifier keeps fewer wrong labels than right ones. If it keeps more, the loop learns the "
                f"opposite. {DASHES}",
            ),
        ),
        "labels",
    ),
}

NAMES = {
    "learner/variance_median": "median fitted variance",
    "learner/variance_about_origin": "variance about the human mean",
    "learner/w2": "squared Wasserstein distance",
    "learner/l2": "L2 distance to the human density",
    "learner/cross_entropy": "cross-entropy of human points",
    "learner/smallest_weight": "weight of the smallest component",
    "learner/latent_std": "spread in the latent space of model 0",
    "learner/recognised": "recognisability",
    "learner/reconstruction": "reconstruction error of human images",
    "learner/support": "different n-grams",
    "learner/test_error": "test error",
    "learner/accuracy": "accuracy",
    "learner/kept_error": "share of wrong labels among the kept",
}


def story(recipe: Recipe) -> Story | None:
    """Return the report's metrics and figures for a recipe's learner; None for a language model."""
    return STORIES.get(recipe.learner.kind)


def writes_text(recipe: Recipe) -> bool:
    """Return True if the learner's samples are texts with token statistics. Other corpora hold numbers."""
    return recipe.learner.kind in (LANGUAGE_MODEL, "ngram")


def origin(recipe: Recipe) -> str:
    """Return the source or learner of a run in words, for the line under its name."""
    kind = recipe.learner.kind
    source = f"{recipe.source.kind} source"
    return source if kind == LANGUAGE_MODEL else f"{kind} learner" + (f", {source}" if kind == "ngram" else "")


def learner_settings(recipe: Recipe) -> dict[str, str]:
    """Return the settings of a learner that can decide the outcome, as name -> value in words."""
    mix, train, learner = recipe.mix, recipe.train, recipe.learner
    fitted = {
        "gaussian": {"chains": f"{learner.repetitions:,}"},
        "mixture": {"components": str(learner.components), "chain": train.chain, "chains": f"{learner.repetitions:,}"},
        "vae": {
            "chain": train.chain,
            "latent dimensions": str(learner.latent),
            "hidden units": str(learner.hidden),
            "epochs": f"{train.epochs:g}",
            "learning rate": f"{train.learning_rate:g}",
            "batch size": str(train.batch_size),
            "weight decay": f"{train.weight_decay:g}",
        },
        "ngram": {"words of an n-gram": str(learner.order)},
        "regression": {
            "features": str(learner.dimensions),
            "label noise": f"{learner.noise:g}",
            "chains": f"{learner.repetitions:,}",
        },
        "classifier": {
            "features": str(learner.dimensions),
            "separation of the classes": f"{learner.separation:g}",
            "wrong human labels": f"{learner.error:g}",
            "verifier keeps": f"{learner.keep_right:g} of right labels, {learner.keep_wrong:g} of wrong ones",
            "chains": f"{learner.repetitions:,}",
        },
    }
    return {
        "learner": learner.kind,
        "synthetic fraction (alpha)": alpha_words(recipe),
        "pool": mix.pool,
        "human data": mix.human,
        "samples a generation": f"{recipe.sample.count:,}",
        **fitted[learner.kind],
        "seed": str(recipe.seed),
    }
