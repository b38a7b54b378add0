"""The assumptions of a plan, in sentences: the origin of the speeds first."""

from __future__ import annotations

from autophage.plan.machines import Machine
from autophage.plan.tokens import WORLD_DOCUMENT_TOKENS
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.model import FROM_SOURCE


def assumptions(recipe: Recipe, machine: Machine, basis: str, *, overlap: bool, base_cached: bool) -> list[str]:
    """Return the assumptions behind a plan as lines of text, the origin of the speeds first.

    Args:
        basis: Origin of the machine's speeds, in words.
        overlap: True if sampler and trainer work at once.
        base_cached: True if the `from-source` base model is trained already.
    """
    lines = [f"{machine.title}: speeds {basis}"]
    if machine.kind == "gpu":
        lines.append(
            f"{machine.peak / 1e12:.0f} TFLOP/s and {machine.bandwidth / 1e12:.2f} TB/s; sampling reaches "
            f"{machine.sample_share:.0%} of the arithmetic, training {machine.train_share:.0%}; the host bounds small "
            f"models: {1e6 * machine.decode_token:.0f} us per sampled token"
        )
    if overlap:
        lines.append(
            "sampler and trainer work at once on different arms (two-machine flow shop) without slowing each other"
        )
    elif recipe.devices != "serial":
        lines.append("no gain from overlap: without a GPU, sampler and trainer share the cores")
    if recipe.model.path == FROM_SOURCE:
        lines.append(
            "the base model is in the cache" if base_cached else "the base model is not in the cache and is trained"
        )
    if recipe.source.kind == "world":
        lines.append(f"documents of {WORLD_DOCUMENT_TOKENS} tokens on average under the world's own tokenizer")
    elif recipe.sample.end != "stop":
        lines.append("every sample has max_tokens tokens")
    if recipe.refers and recipe.anchor.reference != BASE:
        lines.append("the teacher is as fast as the model itself")
    if recipe.measure.drift:
        lines.append("each sample is scored under three models: its writer, model 0 and the previous model")
    return lines
