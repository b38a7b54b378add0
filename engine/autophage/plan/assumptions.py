"""The assumptions of a plan, in sentences: the origin of the speeds first."""

from __future__ import annotations

from autophage.plan.machines import Machine
from autophage.plan.tokens import WORLD_DOCUMENT_TOKENS
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.model import FROM_SOURCE

LAUNCH_SECONDS = 10e-6
"""Seconds in which PyTorch launches one kernel."""


def assumptions(
    recipe: Recipe, machine: Machine, basis: str, *, overlap: bool, base_cached: bool, sharing: int = 1
) -> list[str]:
    """Return the assumptions behind a plan as lines of text, the origin of the speeds first.

    Args:
        basis: Origin of the machine's speeds, in words.
        overlap: True if sampler and trainer work at once.
        base_cached: True if the `from-source` base model is trained already.
        sharing: Number of cells that share a GPU.
    """
    lines = [f"{machine.title}: speeds {basis}"]
    if machine.kind == "gpu":
        lines += _gpu_lines(recipe, machine, sharing)
    if overlap:
        lines.append(
            "sampler and trainer work at once on different arms (two-machine flow shop) without slowing each other"
        )
    elif not recipe.takes_turns:
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


def _gpu_lines(recipe: Recipe, machine: Machine, sharing: int) -> list[str]:
    """Return the assumptions about a GPU and the host that feeds it."""
    decode = machine.decode_step + recipe.sample.sequences * machine.decode_token
    launches = machine.train_layer / LAUNCH_SECONDS
    lines = [
        f"{machine.peak / 1e12:.0f} TFLOP/s and {machine.bandwidth / 1e12:.2f} TB/s; sampling reaches "
        f"{machine.sample_share:.0%} of the arithmetic and {machine.bandwidth_share:.0%} of the bandwidth, training "
        f"{machine.train_share:.0%} of the arithmetic, scoring {machine.score_share:.0%}",
        f"the host bounds small models: {1e3 * decode:.1f} ms per decode step of {recipe.sample.sequences} sequences, "
        f"{launches:.0f} kernel launches of {1e6 * LAUNCH_SECONDS:.0f} us per layer of a training step",
        "no attention over padding: padding-free batches, or rows of about one length"
        if recipe.train.packing != "padded"
        else "rows of a padded batch have about one length",
    ]
    if sharing > 1:
        lines.append(f"{sharing} cells share a GPU and compute in turn; their hosts work at the same time")
    return lines
