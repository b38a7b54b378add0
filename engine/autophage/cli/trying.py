"""The verb `try`: a few samples of model 0 with the gates' verdicts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from autophage.cli.output import AsJson, Overrides, Profile, print_json, say, say_wrapped
from autophage.cli.streams import libraries_unheard
from autophage.display import count as counted
from autophage.display import duration, plural, safe, value

if TYPE_CHECKING:
    from autophage.recipe import LoadedRecipe
    from autophage.runs.trial import Trial
    from autophage.store.corpus import Sample

LONGEST = 600
"""Characters of a sample or a prompt that the terminal shows. `--json` has all."""
INDENT = 4


def try_(
    recipe: str,
    /,
    *,
    count: int = 10,
    arm: str | None = None,
    profile: Profile = None,
    settings: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Show prompts and samples of model 0 with the gates' verdicts, tokens and time. Nothing is trained or kept.

    A base model "from-source" is trained first, unless the cache has it, and stays in the cache.

    Args:
        recipe: Recipe file, or name of a shipped recipe.
        count: Samples to write.
        arm: Arm whose prompts, decoding and gates are tried; default the first that reads samples.
    """
    from autophage.recipe import load_recipe

    loaded = load_recipe(recipe, settings or [], profile)
    for warning in loaded.warnings:
        print(f"warning: {safe(warning)}", file=sys.stderr)
    with libraries_unheard() as stream:
        from autophage.runs.trial import try_recipe

        tried = try_recipe(loaded, count, arm, stream)
    if as_json:
        print_json(_facts(loaded, tried))
    else:
        _print(loaded, recipe, tried)
    return 0


def _facts(loaded: LoadedRecipe, tried: Trial) -> dict[str, Any]:
    return {
        "recipe": loaded.recipe.name,
        "arm": tried.arm,
        "model": tried.model,
        "parameters": tried.parameters,
        "samples": [_sample_facts(sample) for sample in tried.samples],
        "tokens": tried.tokens,
        "seconds": tried.seconds,
        "metrics": {metric.metric: metric.value for metric in tried.metrics},
        "gates": [gate.model_dump(mode="json") for gate in _gates(loaded, tried)],
        "notes": tried.notes,
        "warnings": list(loaded.warnings),
    }


def _gates(loaded: LoadedRecipe, tried: Trial) -> list[Any]:
    return next(list(arm.recipe.gate) for arm in loaded.arms if arm.name == tried.arm)


def _sample_facts(sample: Sample) -> dict[str, Any]:
    return {
        "prompt": sample.prompt,
        "text": sample.text,
        "prompt_tokens": len(sample.prompt_ids),
        "tokens": len(sample.token_ids),
        "finish_reason": sample.finish_reason,
        "accepted": sample.accepted,
        "weight": sample.weight,
        "gate": sample.gate,
        "surprisal": _mean(-sample.logprob),
        "entropy": _mean(sample.entropy),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _print(loaded: LoadedRecipe, recipe: str, tried: Trial) -> None:
    judged = bool(_gates(loaded, tried))
    say_wrapped(
        f"{loaded.recipe.name}, arm {tried.arm}: {plural(len(tried.samples), 'sample')} of model 0, {tried.model} "
        f"({counted(tried.parameters)} parameters)"
    )
    for note in tried.notes:
        say_wrapped(f"note: {note}")
    for number, sample in enumerate(tried.samples, start=1):
        say()
        _print_sample(number, sample, judged=judged)
    say()
    _sum_up(tried, judged=judged)
    say_wrapped(f"Nothing was kept. `autophage plan {recipe}` estimates the run, `autophage run {recipe}` starts it.")


def _print_sample(number: int, sample: Sample, *, judged: bool) -> None:
    facts = _sample_facts(sample)
    ended = "ended by the model" if sample.complete else "cut at max_tokens"
    parts = [plural(len(sample.token_ids), "token"), ended]
    parts += (
        [f"surprisal {value(facts['surprisal'])}, entropy {value(facts['entropy'])} nats"] if sample.token_ids else []
    )
    say_wrapped(f"{number:>3} {', '.join(parts)}")
    if judged:
        verdict = "accepted" if sample.accepted else "rejected"
        weight = f", weight {sample.weight:.3g}" if sample.accepted and sample.weight != 1.0 else ""
        say_wrapped(f"{verdict}{weight}" + (f" ({sample.gate})" if sample.gate else ""), INDENT)
    if sample.prompt:
        _print_text(f"prompt: {_end_of(sample.prompt)}")
    _print_text(_start_of(sample.text))


def _start_of(text: str) -> str:
    rest = len(text) - LONGEST
    return text[:LONGEST] + (f" [{plural(rest, 'more character')}]" if rest > 0 else "")


def _end_of(text: str) -> str:
    """Return the end of a prompt, where the sample goes on."""
    rest = len(text) - LONGEST
    return (f"[{plural(rest, 'character')} before] " if rest > 0 else "") + text[-LONGEST:]


def _print_text(text: str) -> None:
    """Print a text of a model, line by line. An empty one is named, since a blank line would hide it."""
    for line in text.split("\n") if text.strip() else ["(empty)" if not text else "(white space alone)"]:
        say_wrapped(line, INDENT)


def _sum_up(tried: Trial, *, judged: bool) -> None:
    samples = tried.samples
    ended = sum(sample.complete for sample in samples)
    say_wrapped(
        f"{tried.tokens:,} tokens, {tried.tokens / len(samples):.0f} a sample; {ended} of {len(samples)} ended by the model"
    )
    if judged:
        accepted = sum(sample.accepted for sample in samples)
        say_wrapped(f"the gates accept {accepted} of {len(samples)}")
    else:
        say("no gates: every sample is trained on")
    say_wrapped("time: " + ", ".join(f"{step} {duration(seconds)}" for step, seconds in tried.seconds.items()))
