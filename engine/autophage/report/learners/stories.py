"""What the report says of learners that are no language models: their figures, metrics in sentences, and settings.

One table per kind of learner, in the words of its paper. Pure; how a figure is drawn or a sentence made is known elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from autophage.recipe.schedule import alpha_words
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.learner import LANGUAGE_MODEL
from autophage.report.figures.planned import FigurePlan

DASHES = "Thin dashes without marks are the closed form."


@dataclass(frozen=True)
class Story:
    """`told` are the metrics of the sentences, the first of them the one that decides; `figures` the main one and more."""

    told: tuple[str, ...]
    figures: tuple[FigurePlan, ...]
    writes: str = "samples"


STORIES = {
    "gaussian": Story(
        ("learner/variance_median", "learner/variance_about_origin", "learner/w2"),
        (
            FigurePlan(
                "main",
                "A Gaussian that is fitted to its own samples",
                ("learner/variance_median", "learner/variance", "learner/variance_about_origin", "learner/w2"),
                "Along a typical path the variance vanishes while its mean over paths stays where it was, and the fitted means "
                f"wander off, by 1/M of the variance a generation. {DASHES}",
            ),
        ),
    ),
    "mixture": Story(
        ("learner/l2", "learner/cross_entropy", "learner/smallest_weight"),
        (
            FigurePlan(
                "main",
                "A mixture that is fitted to its own samples",
                ("learner/l2", "learner/cross_entropy", "learner/smallest_weight"),
                "Does the fitted density leave the human one? Components shrink to points, so that human data become impossible.",
            ),
        ),
    ),
    "vae": Story(
        ("learner/latent_std", "learner/recognised", "learner/reconstruction"),
        (
            FigurePlan(
                "main",
                "Images that are learnt from images",
                ("learner/latent_std", "learner/recognised", "learner/digit_entropy", "learner/reconstruction"),
                "Do the images draw together in the latent space of model 0, and can a classifier of human digits still tell "
                "what they show?",
            ),
        ),
    ),
    "ngram": Story(
        ("learner/support", "fluency/ppl_human", "onpolicy/entropy"),
        (
            FigurePlan(
                "main",
                "What is missed once is gone",
                ("learner/support", "learner/survival", "fluency/ppl_human", "onpolicy/entropy"),
                "A model that counts its own texts can lose n-grams and never find one again, unless human text brings it back.",
            ),
        ),
        "text",
    ),
    "regression": Story(
        ("learner/test_error",),
        (
            FigurePlan(
                "main",
                "Least squares on labels of its own",
                ("learner/test_error",),
                "Replaced data add the same error in every generation; accumulated data keep it below pi^2 / 6 = 1.64 times that "
                f"of model 0. {DASHES}",
            ),
        ),
    ),
    "classifier": Story(
        ("learner/accuracy", "learner/kept_error"),
        (
            FigurePlan(
                "main",
                "A classifier of verified labels of its own",
                ("learner/accuracy", "learner/kept_error", "learner/kept"),
                "A loop recovers where the verifier leaves fewer wrong labels than right ones, and learns the opposite where it "
                f"leaves more. {DASHES}",
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
    """None for a language model."""
    return STORIES.get(recipe.learner.kind)


def writes_text(recipe: Recipe) -> bool:
    """Whether samples are texts, with statistics of their tokens; other corpora hold numbers."""
    return recipe.learner.kind in (LANGUAGE_MODEL, "ngram")


def origin(recipe: Recipe) -> str:
    """What a run is of, in the line under its name."""
    kind = recipe.learner.kind
    source = f"{recipe.source.kind} source"
    return source if kind == LANGUAGE_MODEL else f"{kind} learner" + (f", {source}" if kind == "ngram" else "")


def learner_settings(recipe: Recipe) -> dict[str, str]:
    """The settings that decide its outcome."""
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
