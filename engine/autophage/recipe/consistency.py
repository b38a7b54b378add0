"""Do the values of a recipe go together? Each is right alone by now; this knows the pairs that are not.

Looks at the arms, because a sweep may bring together what the tables alone do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autophage.recipe.arms import Arm
from autophage.recipe.document import Document
from autophage.recipe.faults import Fault, Place
from autophage.recipe.keys import KEYS, SWEEP
from autophage.recipe.literals import toml_value
from autophage.recipe.overrides import path_of
from autophage.recipe.schema import FROM_SOURCE, Recipe

HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""The attention head sizes that vLLM's CPU backend serves."""


@dataclass(frozen=True)
class Conflict:
    """`keys` take part, the one to point at first."""

    keys: tuple[str, ...]
    wrong: str
    remedies: tuple[str, ...]


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    for check in _CHECKS if recipe.trains_language_model else _LEARNER_CHECKS.get(recipe.learner.kind, ()):
        found = check(recipe)
        if found is not None:
            yield found


def check_arms(recipe: Recipe, arms: list[Arm], document: Document) -> list[Fault]:
    """The conflicts of every arm, each once, where the first of its keys that is written stands."""
    faults: dict[str, Fault] = {}
    for arm in arms:
        for conflict in conflicts(arm.recipe):
            swept = any(key in arm.settings for key in conflict.keys)
            wrong = f"{conflict.wrong} (in arm {arm.name})" if swept else conflict.wrong
            faults.setdefault(conflict.wrong, Fault(_place(conflict, recipe, arm, document), wrong, conflict.remedies))
    return list(faults.values())


def _place(conflict: Conflict, recipe: Recipe, arm: Arm, document: Document) -> Place:
    for key in conflict.keys:
        if key in arm.settings:
            values: list[object] = [*recipe.sweep[key]]
            return document.value_place((SWEEP, key, values.index(arm.settings[key])))
        if document.written(path_of(key)):
            return document.value_place(path_of(key))
    return document.key_place(())


def _needs_path(recipe: Recipe) -> Conflict | None:
    kind = recipe.source.kind
    if kind == "world" or recipe.source.path is not None:
        return None
    example = '"texts/"' if kind == "text" else '"owner/name"'
    wrong = f"source.kind = {toml_value(kind)} needs source.path"
    remedy = f"give source.path, for example: path = {example} under [source]"
    return Conflict(("source.kind", "source.path"), wrong, (remedy, str(KEYS["source.path"])))


def _needs_blocks(recipe: Recipe) -> Conflict | None:
    prompts = recipe.sample.prompts
    if recipe.source.kind != "world" or prompts not in ("blocks", "instruct"):
        return None
    wrong = f'sample.prompts = {toml_value(prompts)} continues blocks of text, and source.kind = "world" has none'
    remedies = (
        'write prompts = "bos" or "auto", or take your texts: source.kind = "text" with source.path',
        str(KEYS["sample.prompts"]),
    )
    return Conflict(("sample.prompts", "source.kind"), wrong, remedies)


def _whole_heads(recipe: Recipe) -> Conflict | None:
    base = recipe.base
    if recipe.model.path != FROM_SOURCE or (
        base.hidden_size % base.heads == 0 and base.hidden_size // base.heads in HEAD_SIZES
    ):
        return None
    if base.hidden_size % base.heads:
        wrong = f"base.hidden_size = {base.hidden_size} is not a multiple of base.heads = {base.heads}"
    else:
        size = base.hidden_size // base.heads
        wrong = f"base.hidden_size = {base.hidden_size} by base.heads = {base.heads} makes heads of {size}"
    served = ", ".join(map(str, HEAD_SIZES))
    remedies = [f"hidden_size / heads must be a head size that vLLM serves: {served}"]
    fitting = [base.hidden_size // size for size in reversed(HEAD_SIZES) if base.hidden_size % size == 0]
    fitting = [heads for heads in fitting if heads <= 64]
    widths = [base.heads * size for size in HEAD_SIZES if base.heads * size <= 4096]
    if fitting:
        remedies.append(f"with hidden_size = {base.hidden_size}, heads may be {', '.join(map(str, fitting))}")
    if widths:
        remedies.append(f"with heads = {base.heads}, hidden_size may be {', '.join(map(str, widths))}")
    return Conflict(("base.heads", "base.hidden_size", "model.path"), wrong, tuple(remedies))


def _carried_on(recipe: Recipe) -> Conflict | None:
    train = recipe.train
    if train.optimizer != "carried" or train.chain == "cumulative":
        return None
    chain = toml_value(train.chain)
    wrong = f'train.optimizer = "carried" goes on where the model before stopped, and train.chain = {chain} does not'
    remedies = ('write chain = "cumulative", or optimizer = "fresh"', str(KEYS["train.optimizer"]))
    return Conflict(("train.optimizer", "train.chain"), wrong, remedies)


def _whole_weights_on_one_gpu(recipe: Recipe) -> Conflict | None:
    if recipe.model.method != "full" or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f'model.method = "full" trains on one GPU, and cluster.trainer_gpus = {recipe.cluster.trainer_gpus}'
    remedies = ("leave cluster.trainer_gpus at 1", 'or train adapters: model.method = "lora"')
    return Conflict(("cluster.trainer_gpus", "model.method"), wrong, remedies)


def _enough_rows(recipe: Recipe) -> Conflict | None:
    """E[(X^T X)^-1] of T rows of N(0, I_d) is finite from T = d + 2 on; a variance needs two values."""
    learner, count = recipe.learner, recipe.sample.count
    least = {"regression": learner.dimensions + 2, "mixture": max(2, learner.components)}.get(learner.kind, 2)
    if count >= least:
        return None
    about = {
        "regression": f"a fit of learner.dimensions = {learner.dimensions} weights has no finite expected error",
        "mixture": f"learner.components = {learner.components} cannot be fitted",
    }
    wrong = f"sample.count = {count}: {about.get(learner.kind, 'there is no variance')} with fewer than {least} rows"
    keys = ("sample.count", "learner.dimensions" if learner.kind == "regression" else "learner.components")
    return Conflict(keys, wrong, (f"let each generation draw at least {least} samples", str(KEYS["sample.count"])))


_LEARNER_CHECKS: dict[str, tuple[Callable[[Recipe], Conflict | None], ...]] = {
    "gaussian": (_enough_rows,),
    "mixture": (_enough_rows,),
    "regression": (_enough_rows,),
    "ngram": (_needs_path,),
}

_CHECKS: tuple[Callable[[Recipe], Conflict | None], ...] = (
    _needs_path,
    _needs_blocks,
    _whole_heads,
    _carried_on,
    _whole_weights_on_one_gpu,
)
