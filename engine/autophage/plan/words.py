"""What a plan rests on, in sentences: how the speeds are known, and what was taken for granted."""

from __future__ import annotations

from autophage.plan.machines import Machine
from autophage.plan.tokens import WORLD_DOCUMENT_TOKENS
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.model import FROM_SOURCE


def assumptions(recipe: Recipe, machine: Machine, basis: str, *, overlap: bool, base_cached: bool) -> list[str]:
    lines = [f"{machine.title}: speeds {basis}"]
    if machine.kind == "gpu":
        lines.append(
            f"{machine.peak / 1e12:.0f} TFLOP/s and {machine.bandwidth / 1e12:.2f} TB/s, of the arithmetic "
            f"{machine.sample_share:.0%} reached in sampling and {machine.train_share:.0%} in training; small models are "
            f"bound by the host: {1e6 * machine.decode_token:.0f} us a sampled token"
        )
    if overlap:
        lines.append(
            "sampler and trainer work at once on different arms (two-machine flow shop), neither slowed by the other"
        )
    elif recipe.devices != "serial":
        lines.append("no gain from overlap: without a GPU sampler and trainer share the cores")
    if recipe.model.path == FROM_SOURCE:
        lines.append(
            "the base model is in the cache" if base_cached else "the base model is not in the cache and is trained"
        )
    if recipe.source.kind == "world":
        lines.append(f"documents of {WORLD_DOCUMENT_TOKENS} tokens on average under the world's own tokenizer")
    elif recipe.sample.end != "stop":
        lines.append("every sample as long as max_tokens allows")
    if recipe.refers and recipe.anchor.reference != BASE:
        lines.append("the teacher is as quick as the model itself")
    if recipe.measure.drift:
        lines.append(
            "samples are scored by their own model, model 0 and the previous one, where these differ, and not again"
        )
    return lines
