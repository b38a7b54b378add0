"""Do the values of a recipe go together? Each is right alone by now; this knows the pairs that are not.

Looks at the arms, because a sweep may bring together what the tables alone do not.
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
"""What the people of a world have, each a domain of its documents."""
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


def check_arms(recipe: Recipe, arms: list[Arm], document: TomlDocument) -> list[Fault]:
    """The conflicts of every arm, each once, where the first of its keys that is written stands."""
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
    """Where the remedy of an arm sets `key`; None where it does not. Gates are set together."""
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
    wrong = 'sample.prompts = "instruct" asks for the continuation of a text, and source.kind = "world" has none'
    remedies = (
        'write prompts = "bos", "blocks" or "auto", or take your texts: source.kind = "text" with source.path',
        str(KEYS["sample.prompts"]),
    )
    return Conflict(("sample.prompts", "source.kind"), wrong, remedies)


def _makes_of_a_text(recipe: Recipe) -> Conflict | None:
    maker, kind = recipe.maker.kind, toml_value(recipe.source.kind)
    if not recipe.has_maker:
        return None
    if maker not in (offered := installed_makers()):
        meant = [f"did you mean {toml_value(one)}?" for one in meant_choice(maker, [NONE, *offered])]
        wrong = f"maker.kind = {toml_value(maker)}: no installed package offers such a maker"
        return Conflict(("maker.kind",), wrong, (*meant, f"there are {', '.join((NONE, *offered))}"))
    if recipe.source.kind == "world":
        wrong = f"maker.kind = {toml_value(maker)} asks about passages of a text, and source.kind = {kind} has none"
        return Conflict(
            ("maker.kind", "source.kind"), wrong, ('take your texts: source.kind = "text" with source.path',)
        )
    if recipe.model.path == FROM_SOURCE:
        wrong = (
            f"maker.kind = {toml_value(maker)} asks through a chat template, and a model made from the source has none"
        )
        return Conflict(("maker.kind", "model.path"), wrong, ("name an instruction-tuned model: model.path",))
    return None


def _begins_but_does_not_end(recipe: Recipe) -> Conflict | None:
    begun, whole = recipe.sample.annotation, recipe.source.continuation
    if not recipe.annotated or recipe.source.kind == "world" or begun < whole:
        return None
    wrong = (
        f"sample.annotation = {begun} leaves nothing to write of documents with source.continuation = {whole} tokens"
    )
    return Conflict(
        ("sample.annotation", "source.continuation"), wrong, (f"let an annotation have fewer than {whole}",)
    )


def _known_domain(recipe: Recipe) -> Conflict | None:
    domain = recipe.mix.domain
    if recipe.source.kind != "world" or domain in (ALL, *WORLD_DOMAINS):
        return None
    wrong = f"mix.domain = {toml_value(domain)}: a world is about {', '.join(WORLD_DOMAINS)}"
    return Conflict(("mix.domain", "source.kind"), wrong, (f'name one of them, or write "{ALL}"',))


def _prompted_domain(recipe: Recipe) -> Conflict | None:
    prompts = recipe.sample.prompts
    bos = prompts == "bos" or (prompts == "auto" and recipe.source.kind == "world")
    if recipe.mix.domain == ALL or not bos or recipe.has_maker or is_always(recipe, 0.0):
        return None
    domain = toml_value(recipe.mix.domain)
    wrong = f"mix.domain = {domain} needs prompts of that domain, and nothing but the start token is given"
    remedies = ('write prompts = "blocks" or "annotated"', str(KEYS["sample.prompts"]))
    return Conflict(("mix.domain", "sample.prompts"), wrong, remedies)


def _runs_out(recipe: Recipe) -> Conflict | None:
    """decay takes human text away, last-chance brings it back: a schedule that does neither is a slip."""
    mix, last = recipe.mix, alpha_final(recipe)
    if mix.schedule == "constant" or (last > mix.alpha if mix.schedule == "decay" else last < mix.alpha):
        return None
    way = "up from" if mix.schedule == "decay" else "down from"
    wrong = (
        f"mix.schedule = {toml_value(mix.schedule)} goes {way} mix.alpha = {mix.alpha:g}, and alpha_final is {last:g}"
    )
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


def _anchored_in_one_process(recipe: Recipe) -> Conflict | None:
    gpus = recipe.cluster.trainer_gpus
    if gpus == 1 or not (recipe.refers or recipe.mix.human_edit is not None):
        return None
    what, key, remedy = (
        ("anchor.reference is looked at", "anchor.kl", 'kl = 0 and objective = "sft" under [anchor]')
        if recipe.refers
        else ("mix.human_edit draws tokens", "mix.human_edit", "no human_edit")
    )
    wrong = f"{what} by a trainer on one GPU, and cluster.trainer_gpus = {gpus}"
    remedies = ("leave cluster.trainer_gpus at 1", f"or write {remedy}")
    return Conflict(("cluster.trainer_gpus", key), wrong, remedies)


def _harness_of_one_process(recipe: Recipe) -> Conflict | None:
    if not recipe.measure.harness or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f"measure.harness measures on one GPU, and cluster.trainer_gpus = {recipe.cluster.trainer_gpus}"
    return Conflict(("measure.harness", "cluster.trainer_gpus"), wrong, ("leave one of them out",))


def _search_on_one_device(recipe: Recipe) -> Conflict | None:
    if recipe.sample.beams == 1 or recipe.cluster.sampler_gpus == 1:
        return None
    beams, gpus = recipe.sample.beams, recipe.cluster.sampler_gpus
    wrong = f"sample.beams = {beams} are searched on one GPU, and cluster.sampler_gpus = {gpus}"
    remedies = ("leave cluster.sampler_gpus at 1", "or sample: sample.beams = 1")
    return Conflict(("cluster.sampler_gpus", "sample.beams"), wrong, remedies)


def _best_of_one_process(recipe: Recipe) -> Conflict | None:
    train, gpus = recipe.train, recipe.cluster.trainer_gpus
    if train.keep == "last" or (gpus == 1 and train.optimizer == "fresh"):
        return None
    if gpus > 1:
        wrong = f'train.keep = "best" needs a trainer on one GPU, and cluster.trainer_gpus = {gpus}'
        return Conflict(("train.keep", "cluster.trainer_gpus"), wrong, ('write keep = "last", or trainer_gpus = 1',))
    wrong = (
        'train.optimizer = "carried" goes on from the last epoch, and train.keep = "best" may go back to an earlier one'
    )
    return Conflict(("train.keep", "train.optimizer"), wrong, ('write keep = "last", or optimizer = "fresh"',))


def _spares_a_document(recipe: Recipe) -> Conflict | None:
    """Of a text the windows are counted when its tokenizer is known."""
    source, measured = recipe.source, recipe.measure.documents
    if recipe.train.keep == "last" or source.kind != "world" or source.held_out_documents > measured:
        return None
    wrong = (
        'train.keep = "best" picks an epoch by held-out documents that are not measured, and all '
        f"{source.held_out_documents} are (measure.documents = {measured})"
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
    wrong = f'questions.kind = "world" asks about a world, and source.kind = {toml_value(recipe.source.kind)} has none'
    return Conflict(("questions.kind", "source.kind"), wrong, ('write kind = "mmlu", or source.kind = "world"',))


def _has_words_for_options(recipe: Recipe) -> Conflict | None:
    questions, source = recipe.questions, recipe.source
    if questions.kind != "world" or "multiple-choice" not in questions.formats or source.choices > 0:
        return None
    if recipe.model.path != FROM_SOURCE:
        return None
    wrong = "the format multiple-choice lists options, and no document of this world does (source.choices = 0)"
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
        wrong = 'questions.kind = "mmlu" is plain English, and a model made from a world knows the world\'s words alone'
        remedies = ('write kind = "world", or name a model: model.path',)
        return Conflict(("questions.kind", "model.path"), wrong, remedies)
    if recipe.questions.chat is not True:
        return None
    wrong = 'questions.chat = true, and a model made from the source (model.path = "from-source") has no chat template'
    return Conflict(
        ("questions.chat", "model.path"), wrong, ('write chat = "auto" or false, or name a model: model.path',)
    )


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


def _keeps_something(recipe: Recipe) -> Conflict | None:
    learner = recipe.learner
    if learner.keep_right + learner.keep_wrong > 0:
        return None
    keys = ("learner.keep_right", "learner.keep_wrong")
    wrong = f"{keys[0]} = 0 and {keys[1]} = 0: the verifier keeps nothing, so that nothing can be learnt"
    return Conflict(keys, wrong, ("let it keep some labels", str(KEYS["learner.keep_right"])))


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
