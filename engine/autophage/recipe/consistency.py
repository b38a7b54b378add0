"""Conflicts between values of a recipe. Each value is valid alone by the time this runs.

Every arm is checked, because a sweep may combine values that the tables alone do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autophage.recipe.arms import Arm
from autophage.recipe.keys import KEYS, REMEDIES, SWEEP, meant_choice, path_of
from autophage.recipe.schedule import alpha_final, is_always
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault, Location
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.syntax.positions import KeyPath
from autophage.recipe.tables.gate import GATE
from autophage.recipe.tables.maker import NONE, installed_makers
from autophage.recipe.tables.mix import ALL
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.train import VALIDATED

WORLD_DOMAINS = ("city", "job", "employer", "hobby")
"""Attributes of the people of a world. Each is a domain of its documents."""
HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Attention head sizes that vLLM's CPU backend serves."""


@dataclass(frozen=True)
class Conflict:
    """Values that do not go together. `keys` are the keys involved; the message points at the first that is written."""

    keys: tuple[str, ...]
    wrong: str
    remedies: tuple[str, ...]


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Every conflict in the recipe of one arm."""
    for check in _CHECKS if recipe.trains_language_model else _LEARNER_CHECKS.get(recipe.learner.kind, ()):
        found = check(recipe)
        if found is not None:
            yield found


def check_arms(recipe: Recipe, arms: list[Arm], document: TomlDocument) -> list[Fault]:
    """The conflicts of all arms, each once, at the location of its first key that is written."""
    faults: dict[str, Fault] = {}
    for arm in arms:
        for conflict in conflicts(arm.recipe):
            swept = any(key in arm.settings or _in_bundle(recipe, arm, key) for key in conflict.keys)
            wrong = f"{conflict.wrong} (in arm {arm.name})" if swept else conflict.wrong
            faults.setdefault(conflict.wrong, Fault(_place(conflict, recipe, arm, document), wrong, conflict.remedies))
    return list(faults.values())


def _place(conflict: Conflict, recipe: Recipe, arm: Arm, document: TomlDocument) -> Location:
    for key in conflict.keys:
        if key in arm.settings:
            values: list[object] = [*recipe.sweep[key]]
            return document.value_location((SWEEP, key, values.index(arm.settings[key])))
        if bundled := _in_bundle(recipe, arm, key):
            return document.value_location(bundled)
        if document.written(path_of(key)):
            return document.value_location(path_of(key))
    return document.key_location(())


def _in_bundle(recipe: Recipe, arm: Arm, key: str) -> KeyPath | None:
    """The path at which the remedy of an arm sets `key`, or None. A remedy sets all gates together."""
    remedy = str(arm.settings.get("remedy", recipe.remedy))
    bundle = recipe.remedies.get(remedy, {})
    if key in bundle:
        return (REMEDIES, remedy, key)
    return (REMEDIES, remedy, *path_of(key)) if key.startswith(f"{GATE}.") and GATE in bundle else None


def _needs_path(recipe: Recipe) -> Conflict | None:
    kind = recipe.source.kind
    if kind == "world" or recipe.source.path is not None:
        return None
    example = '"texts/"' if kind == "text" else '"owner/name"'
    wrong = f"source.kind = {toml_value(kind)} needs source.path"
    remedy = f"give source.path, for example: path = {example} under [source]"
    return Conflict(("source.kind", "source.path"), wrong, (remedy, str(KEYS["source.path"])))


def _needs_text(recipe: Recipe) -> Conflict | None:
    if recipe.source.kind != "world" or recipe.sample.prompts != "instruct" or recipe.has_maker:
        return None
    wrong = 'sample.prompts = "instruct" needs a text to continue, but source.kind = "world" has none'
    remedies = (
        'write prompts = "bos", "blocks" or "auto", or use your own texts: source.kind = "text" with source.path',
        str(KEYS["sample.prompts"]),
    )
    return Conflict(("sample.prompts", "source.kind"), wrong, remedies)


def _makes_of_a_text(recipe: Recipe) -> Conflict | None:
    maker, kind = recipe.maker.kind, toml_value(recipe.source.kind)
    if not recipe.has_maker:
        return None
    if maker not in (offered := installed_makers()):
        meant = [f"did you mean {toml_value(one)}?" for one in meant_choice(maker, [NONE, *offered])]
        wrong = f"maker.kind = {toml_value(maker)}: no installed package offers this maker"
        return Conflict(("maker.kind",), wrong, (*meant, f"installed makers: {', '.join((NONE, *offered))}"))
    if recipe.source.kind == "world":
        wrong = f"maker.kind = {toml_value(maker)} needs passages of a text, but source.kind = {kind} has none"
        return Conflict(
            ("maker.kind", "source.kind"), wrong, ('use your own texts: source.kind = "text" with source.path',)
        )
    if recipe.model.path == FROM_SOURCE:
        wrong = (
            f"maker.kind = {toml_value(maker)} needs a chat template, but a base model made from the source has none"
        )
        return Conflict(("maker.kind", "model.path"), wrong, ("name an instruction-tuned model in model.path",))
    return None


def _begins_but_does_not_end(recipe: Recipe) -> Conflict | None:
    begun, whole = recipe.sample.annotation, recipe.source.continuation
    if not recipe.annotated or recipe.source.kind == "world" or begun < whole:
        return None
    wrong = f"sample.annotation = {begun} leaves no tokens to write: source.continuation = {whole}"
    return Conflict(
        ("sample.annotation", "source.continuation"),
        wrong,
        (f"write an annotation below {whole}, or a longer continuation",),
    )


def _known_domain(recipe: Recipe) -> Conflict | None:
    domain = recipe.mix.domain
    if recipe.source.kind != "world" or domain in (ALL, *WORLD_DOMAINS):
        return None
    wrong = f"mix.domain = {toml_value(domain)}: the domains of a world are {', '.join(WORLD_DOMAINS)}"
    return Conflict(("mix.domain", "source.kind"), wrong, (f'write one of them, or "{ALL}"',))


def _prompted_domain(recipe: Recipe) -> Conflict | None:
    prompts = recipe.sample.prompts
    bos = prompts == "bos" or (prompts == "auto" and recipe.source.kind == "world")
    if recipe.mix.domain == ALL or not bos or recipe.has_maker or is_always(recipe, 0.0):
        return None
    domain = toml_value(recipe.mix.domain)
    wrong = f"mix.domain = {domain} needs prompts of that domain, but prompts are the start token alone"
    remedies = ('write prompts = "blocks" or "annotated"', str(KEYS["sample.prompts"]))
    return Conflict(("mix.domain", "sample.prompts"), wrong, remedies)


def _runs_out(recipe: Recipe) -> Conflict | None:
    """decay must raise the synthetic fraction, last-chance must lower it. Anything else is a slip."""
    mix, last = recipe.mix, alpha_final(recipe)
    if mix.schedule == "constant" or (last > mix.alpha if mix.schedule == "decay" else last < mix.alpha):
        return None
    way = "up from" if mix.schedule == "decay" else "down from"
    wrong = f"mix.schedule = {toml_value(mix.schedule)} must go {way} mix.alpha = {mix.alpha:g}, but alpha_final is {last:g}"
    below = "lower mix.alpha" if mix.schedule == "decay" else "raise mix.alpha"
    return Conflict(
        ("mix.schedule", "mix.alpha_final", "mix.alpha"),
        wrong,
        (f"{below}, or give another mix.alpha_final", str(KEYS["mix.alpha_final"])),
    )


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
        wrong = f"base.hidden_size = {base.hidden_size} by base.heads = {base.heads} gives a head size of {size}"
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
    wrong = f'train.optimizer = "carried" needs a cumulative chain, but train.chain = {chain}'
    remedies = ('write chain = "cumulative", or optimizer = "fresh"', str(KEYS["train.optimizer"]))
    return Conflict(("train.optimizer", "train.chain"), wrong, remedies)


def _whole_weights_on_one_gpu(recipe: Recipe) -> Conflict | None:
    if recipe.model.method != "full" or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f'model.method = "full" trains on one GPU, but cluster.trainer_gpus = {recipe.cluster.trainer_gpus}'
    remedies = ("leave cluster.trainer_gpus at 1", 'or train adapters: model.method = "lora"')
    return Conflict(("cluster.trainer_gpus", "model.method"), wrong, remedies)


def _anchored_in_one_process(recipe: Recipe) -> Conflict | None:
    gpus = recipe.cluster.trainer_gpus
    if gpus == 1 or not (recipe.refers or recipe.mix.human_edit is not None):
        return None
    what, key, remedy = (
        ("anchor.reference needs", "anchor.kl", 'kl = 0 and objective = "sft" under [anchor]')
        if recipe.refers
        else ("mix.human_edit needs", "mix.human_edit", "no human_edit")
    )
    wrong = f"{what} a trainer on one GPU, but cluster.trainer_gpus = {gpus}"
    remedies = ("leave cluster.trainer_gpus at 1", f"or write {remedy}")
    return Conflict(("cluster.trainer_gpus", key), wrong, remedies)


def _harness_of_one_process(recipe: Recipe) -> Conflict | None:
    if not recipe.measure.harness or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f"measure.harness runs on one GPU, but cluster.trainer_gpus = {recipe.cluster.trainer_gpus}"
    return Conflict(("measure.harness", "cluster.trainer_gpus"), wrong, ("leave one of them out",))


def _search_on_one_device(recipe: Recipe) -> Conflict | None:
    if recipe.sample.beams == 1 or recipe.cluster.sampler_gpus == 1:
        return None
    beams, gpus = recipe.sample.beams, recipe.cluster.sampler_gpus
    wrong = f"sample.beams = {beams}: beam search runs on one GPU, but cluster.sampler_gpus = {gpus}"
    remedies = ("leave cluster.sampler_gpus at 1", "or sample: sample.beams = 1")
    return Conflict(("cluster.sampler_gpus", "sample.beams"), wrong, remedies)


def _best_of_one_process(recipe: Recipe) -> Conflict | None:
    train, gpus = recipe.train, recipe.cluster.trainer_gpus
    if train.keep == "last" or (gpus == 1 and train.optimizer == "fresh"):
        return None
    if gpus > 1:
        wrong = f'train.keep = "best" needs a trainer on one GPU, but cluster.trainer_gpus = {gpus}'
        return Conflict(("train.keep", "cluster.trainer_gpus"), wrong, ('write keep = "last", or trainer_gpus = 1',))
    wrong = 'train.optimizer = "carried" continues from the last epoch, but train.keep = "best" may keep an earlier one'
    return Conflict(("train.keep", "train.optimizer"), wrong, ('write keep = "last", or optimizer = "fresh"',))


def _spares_a_document(recipe: Recipe) -> Conflict | None:
    """Checks a world alone: the windows of a text are counted once its tokenizer is known."""
    source, measured = recipe.source, recipe.measure.documents
    if recipe.train.keep == "last" or source.kind != "world" or source.held_out_documents > measured:
        return None
    wrong = (
        'train.keep = "best" needs held-out documents that are not measured, but all '
        f"{source.held_out_documents} are measured (measure.documents = {measured})"
    )
    remedies = (f"write source.held_out_documents = {measured + VALIDATED}", "or lower measure.documents")
    return Conflict(("train.keep", "source.held_out_documents", "measure.documents"), wrong, remedies)


def _needs_questions(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "mmlu" or recipe.questions.path is not None:
        return None
    remedy = 'give questions.path, for example: path = "mmlu/" or "tasksource/mmlu" under [questions]'
    wrong = 'questions.kind = "mmlu" needs questions.path'
    return Conflict(("questions.kind", "questions.path"), wrong, (remedy, str(KEYS["questions.path"])))


def _asks_of_a_world(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "world" or recipe.source.kind == "world":
        return None
    wrong = f'questions.kind = "world" needs a world, but source.kind = {toml_value(recipe.source.kind)} has none'
    return Conflict(("questions.kind", "source.kind"), wrong, ('write kind = "mmlu", or source.kind = "world"',))


def _has_words_for_options(recipe: Recipe) -> Conflict | None:
    questions, source = recipe.questions, recipe.source
    if questions.kind != "world" or "multiple-choice" not in questions.formats or source.choices > 0:
        return None
    if recipe.model.path != FROM_SOURCE:
        return None
    wrong = "the format multiple-choice lists options, but no document of this world does (source.choices = 0)"
    others = [form for form in questions.formats if form != "multiple-choice"]
    remedies = [
        "write source.choices = 0.2, so that the base model learns the form",
        *([f"or leave it out: questions.formats = {toml_value(others)}"] if others else []),
        str(KEYS["source.choices"]),
    ]
    return Conflict(("questions.formats", "questions.kind", "source.choices"), wrong, tuple(remedies))


def _reads_questions(recipe: Recipe) -> Conflict | None:
    if recipe.questions.kind != "mmlu" or recipe.model.path != FROM_SOURCE:
        return None
    if recipe.source.kind == "world":
        wrong = 'questions.kind = "mmlu" is plain English, but a base model made from a world knows the words of the world alone'
        remedies = ('write kind = "world", or name a model in model.path',)
        return Conflict(("questions.kind", "model.path"), wrong, remedies)
    if recipe.questions.chat is not True:
        return None
    wrong = "questions.chat = true needs a chat template, but a base model made from the source has none"
    return Conflict(
        ("questions.chat", "model.path"), wrong, ('write chat = "auto" or false, or name a model in model.path',)
    )


def _enough_rows(recipe: Recipe) -> Conflict | None:
    """Regression needs T >= d + 2 rows: below, E[(X^T X)^-1] of T rows of N(0, I_d) is infinite. A variance needs two values."""
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
    return Conflict(keys, wrong, (f"draw at least {least} samples per generation", str(KEYS["sample.count"])))


def _keeps_something(recipe: Recipe) -> Conflict | None:
    learner = recipe.learner
    if learner.keep_right + learner.keep_wrong > 0:
        return None
    keys = ("learner.keep_right", "learner.keep_wrong")
    wrong = f"{keys[0]} = 0 and {keys[1]} = 0: the verifier keeps no label, so that there is no training data"
    return Conflict(keys, wrong, ("keep some labels", str(KEYS["learner.keep_right"])))


def _judged_by_what_can(recipe: Recipe) -> Conflict | None:
    for number, gate in enumerate(recipe.gate):
        if unfit := gate.unfit(recipe):
            wrong, *remedies = unfit
            return Conflict(
                (f"{GATE}.{number}.kind",), f"{GATE}.kind = {toml_value(gate.kind)}: {wrong}", tuple(remedies)
            )
    return None


_LEARNER_CHECKS: dict[str, tuple[Callable[[Recipe], Conflict | None], ...]] = {
    "gaussian": (_enough_rows, _runs_out),
    "mixture": (_enough_rows, _runs_out),
    "regression": (_enough_rows, _runs_out),
    "classifier": (_keeps_something, _runs_out),
    "vae": (_runs_out,),
    "ngram": (_needs_path, _runs_out),
}

_CHECKS: tuple[Callable[[Recipe], Conflict | None], ...] = (
    _needs_path,
    _needs_text,
    _makes_of_a_text,
    _begins_but_does_not_end,
    _known_domain,
    _prompted_domain,
    _runs_out,
    _whole_heads,
    _carried_on,
    _whole_weights_on_one_gpu,
    _anchored_in_one_process,
    _harness_of_one_process,
    _search_on_one_device,
    _best_of_one_process,
    _spares_a_document,
    _needs_questions,
    _asks_of_a_world,
    _has_words_for_options,
    _reads_questions,
    _judged_by_what_can,
)
