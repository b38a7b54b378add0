"""Conflicts between source, prompts, makers, gates and mix. Each check returns a conflict or None."""

from __future__ import annotations

from autophage.recipe.checks.conflict import Conflict
from autophage.recipe.keys import KEYS, meant_choice
from autophage.recipe.schedule import alpha_final, is_always
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.gate import GATE
from autophage.recipe.tables.maker import NONE, installed_makers
from autophage.recipe.tables.mix import ALL
from autophage.recipe.tables.model import FROM_SOURCE

WORLD_DOMAINS = ("city", "job", "employer", "hobby")
"""Attributes of the people of a world. Each is a domain of its documents."""


def source_without_path(recipe: Recipe) -> Conflict | None:
    kind = recipe.source.kind
    if kind == "world" or recipe.source.path is not None:
        return None
    example = '"texts/"' if kind == "text" else '"owner/name"'
    wrong = f"source.kind = {toml_value(kind)} needs source.path"
    remedy = f"give source.path, for example: path = {example} under [source]"
    return Conflict(("source.kind", "source.path"), wrong, (remedy, str(KEYS["source.path"])))


def instruct_without_text(recipe: Recipe) -> Conflict | None:
    if recipe.source.kind != "world" or recipe.sample.prompts != "instruct" or recipe.has_maker:
        return None
    wrong = 'sample.prompts = "instruct" needs a text to continue, but source.kind = "world" has none'
    remedies = (
        'write prompts = "bos", "blocks" or "auto", or use your own texts: source.kind = "text" with source.path',
        str(KEYS["sample.prompts"]),
    )
    return Conflict(("sample.prompts", "source.kind"), wrong, remedies)


def maker_without_text_or_model(recipe: Recipe) -> Conflict | None:
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


def annotation_too_long(recipe: Recipe) -> Conflict | None:
    begun, whole = recipe.sample.annotation, recipe.source.continuation
    if not recipe.annotated or recipe.source.kind == "world" or begun < whole:
        return None
    wrong = f"sample.annotation = {begun} leaves no tokens to write: source.continuation = {whole}"
    return Conflict(
        ("sample.annotation", "source.continuation"),
        wrong,
        (f"write an annotation below {whole}, or a longer continuation",),
    )


def unknown_domain(recipe: Recipe) -> Conflict | None:
    domain = recipe.mix.domain
    if recipe.source.kind != "world" or domain in (ALL, *WORLD_DOMAINS):
        return None
    wrong = f"mix.domain = {toml_value(domain)}: the domains of a world are {', '.join(WORLD_DOMAINS)}"
    return Conflict(("mix.domain", "source.kind"), wrong, (f'write one of them, or "{ALL}"',))


def domain_without_prompts(recipe: Recipe) -> Conflict | None:
    prompts = recipe.sample.prompts
    bos = prompts == "bos" or (prompts == "auto" and recipe.source.kind == "world")
    if recipe.mix.domain == ALL or not bos or recipe.has_maker or is_always(recipe, 0.0):
        return None
    domain = toml_value(recipe.mix.domain)
    wrong = f"mix.domain = {domain} needs prompts of that domain, but prompts are the start token alone"
    remedies = ('write prompts = "blocks" or "annotated"', str(KEYS["sample.prompts"]))
    return Conflict(("mix.domain", "sample.prompts"), wrong, remedies)


def schedule_in_wrong_direction(recipe: Recipe) -> Conflict | None:
    """Return a conflict if the schedule moves the synthetic fraction the wrong way, else None.

    decay must raise the fraction, and last-chance must lower it. Anything else is a slip.
    """
    mix, last = recipe.mix, alpha_final(recipe)
    if mix.schedule == "constant" or (last > mix.alpha if mix.schedule == "decay" else last < mix.alpha):
        return None
    way = "rise from" if mix.schedule == "decay" else "fall from"
    wrong = (
        f"mix.schedule = {toml_value(mix.schedule)} must {way} mix.alpha = {mix.alpha:g}, but alpha_final is {last:g}"
    )
    below = "lower mix.alpha" if mix.schedule == "decay" else "raise mix.alpha"
    return Conflict(
        ("mix.schedule", "mix.alpha_final", "mix.alpha"),
        wrong,
        (f"{below}, or give another mix.alpha_final", str(KEYS["mix.alpha_final"])),
    )


def unfit_gate(recipe: Recipe) -> Conflict | None:
    for number, gate in enumerate(recipe.gate):
        if unfit := gate.unfit(recipe):
            wrong, *remedies = unfit
            return Conflict(
                (f"{GATE}.{number}.kind",), f"{GATE}.kind = {toml_value(gate.kind)}: {wrong}", tuple(remedies)
            )
    return None
