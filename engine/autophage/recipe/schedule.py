"""The synthetic fraction of each mix: constant, or scheduled over the generations.

With G = generations, model g + 1 is trained on the mix of corpus g (g = 0..G-1). The synthetic fraction of that mix is

    constant      alpha
    decay         alpha + (alpha_final - alpha) * g / (G - 1)      human text runs out in equal steps
    last-chance   alpha, and alpha_final for g = G - 1             human text returns for the last model alone

The human fraction is the rest. A pool that accumulates keeps every mix at the fraction with which it was made.
"""

from __future__ import annotations

from autophage.recipe.schema import Recipe


def alpha_final(recipe: Recipe) -> float:
    """Return the synthetic fraction (0 to 1) of the training data of the last model."""
    mix = recipe.mix
    if mix.schedule == "constant":
        return mix.alpha
    if mix.alpha_final is not None:
        return mix.alpha_final
    return 1.0 if mix.schedule == "decay" else 0.0


def alpha_of(recipe: Recipe, generation: int) -> float:
    """Return the synthetic fraction of the mix of corpus `generation`.

    Model `generation` + 1 is trained on that mix.
    """
    mix, last = recipe.mix, recipe.generations - 1
    if mix.schedule == "decay" and last > 0:
        return mix.alpha + (alpha_final(recipe) - mix.alpha) * min(generation, last) / last
    if mix.schedule == "last-chance" and generation >= last:
        return alpha_final(recipe)
    return mix.alpha


def pool_alpha(recipe: Recipe, generation: int) -> float:
    """Return the synthetic fraction of all training data of model `generation`, which is 1 or later.

    An accumulating pool holds the data of all generations so far, and the human data from before the loop.
    """
    last = alpha_of(recipe, generation - 1)
    if recipe.mix.pool == "replace":
        return last
    # Mixes before the last are equal, or rise in equal steps. An accumulated pool also holds the human data from before the loop.
    first = recipe.mix.alpha
    mean = (first + last) / 2 if recipe.mix.schedule == "decay" else (first * (generation - 1) + last) / generation
    return mean * generation / (generation + 1)


def is_always(recipe: Recipe, alpha: float) -> bool:
    """Return True if every mix of a run has the synthetic fraction `alpha`."""
    return all(alpha_of(recipe, generation) == alpha for generation in (0, recipe.generations - 1))


def alpha_words(recipe: Recipe) -> str:
    """Return the synthetic fractions of the first and last mix in words: `0.5`, or `0 to 1, decay`."""
    mix = recipe.mix
    if mix.schedule == "constant":
        return f"{mix.alpha:g}"
    return f"{mix.alpha:g} to {alpha_final(recipe):g}, {mix.schedule}"
