"""The synthetic fraction of each mix: constant, or by a schedule over the generations.

With G = generations, the mix of corpus g (g = 0..G-1), which model g + 1 is trained on, has the synthetic fraction

    constant      alpha
    decay         alpha + (alpha_final - alpha) * g / (G - 1)      the human fraction runs out, by the same step each time
    last-chance   alpha, and alpha_final for g = G - 1             human text comes back for the last model alone

and the human fraction is the rest. A pool that accumulates holds every mix with the fraction that it was made with.
"""

from __future__ import annotations

from autophage.recipe.schema import Recipe


def alpha_final(recipe: Recipe) -> float:
    """The synthetic fraction of the last mix."""
    mix = recipe.mix
    if mix.schedule == "constant":
        return mix.alpha
    if mix.alpha_final is not None:
        return mix.alpha_final
    return 1.0 if mix.schedule == "decay" else 0.0


def alpha_of(recipe: Recipe, generation: int) -> float:
    """The synthetic fraction of the mix of corpus `generation`, which model `generation` + 1 is trained on."""
    mix, last = recipe.mix, recipe.generations - 1
    if mix.schedule == "decay" and last > 0:
        return mix.alpha + (alpha_final(recipe) - mix.alpha) * min(generation, last) / last
    if mix.schedule == "last-chance" and generation >= last:
        return alpha_final(recipe)
    return mix.alpha


def pool_alpha(recipe: Recipe, generation: int) -> float:
    """The synthetic fraction of all that model `generation`, from 1 on, is trained on."""
    last = alpha_of(recipe, generation - 1)
    if recipe.mix.pool == "replace":
        return last
    # All mixes but the last are as the first one, or a step apart; an accumulated pool has the data of before the loop in it.
    first = recipe.mix.alpha
    mean = (first + last) / 2 if recipe.mix.schedule == "decay" else (first * (generation - 1) + last) / generation
    return mean * generation / (generation + 1)


def is_always(recipe: Recipe, alpha: float) -> bool:
    """Whether every mix has the synthetic fraction `alpha`."""
    return all(alpha_of(recipe, generation) == alpha for generation in (0, recipe.generations - 1))


def alpha_words(recipe: Recipe) -> str:
    """`0.5`, `0 to 1, decay`: the fractions of the first and the last mix, and the schedule."""
    mix = recipe.mix
    if mix.schedule == "constant":
        return f"{mix.alpha:g}"
    return f"{mix.alpha:g} to {alpha_final(recipe):g}, {mix.schedule}"
