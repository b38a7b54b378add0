"""Verbs about recipes, none of which runs one: `recipes`, `show` and `plan`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from autophage.cli.output import AsJson, Overrides, print_json, print_table, say
from autophage.live.format import count, duration, safe, size

if TYPE_CHECKING:
    from autophage.plan import ArmPlan, Plan


def recipes(*, as_json: AsJson = False) -> int:
    """List the recipes that ship with autophage."""
    from autophage.recipe import read_recipe_file, shipped_recipes

    rows = [
        (name, read_recipe_file(name).data.get("description", ""), path) for name, path in shipped_recipes().items()
    ]
    if as_json:
        print_json([{"name": name, "description": text, "path": str(path)} for name, text, path in rows])
    else:
        print_table(["recipe", "description"], [(name, text) for name, text, _ in rows])
    return 0


def show(
    recipe: str,
    /,
    *,
    resolved: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Print a recipe as it is written, or with every default filled in.

    Parameters
    ----------
    recipe
        A recipe file, or the name of a shipped recipe.
    resolved
        Fill in every default and say where each value comes from.
    """
    from autophage.recipe import load_recipe, read_recipe_file, resolved_toml

    # As it is written it may lack what only its user can give, such as a path; with its defaults it must be whole.
    if not (resolved or settings or as_json):
        text = read_recipe_file(recipe).path.read_text("utf-8")
        print(safe(text, keep="\n\t"), end="" if text.endswith("\n") else "\n")
        return 0
    loaded = load_recipe(recipe, settings or [])
    text = resolved_toml(loaded) if resolved or settings else loaded.path.read_text("utf-8")
    if as_json:
        values = loaded.recipe.model_dump(mode="json")
        print_json({"path": str(loaded.path), "toml": text, "recipe": values, "warnings": list(loaded.warnings)})
    else:
        print(safe(text, keep="\n\t"), end="" if text.endswith("\n") else "\n")
    return 0


def plan(
    recipe: str,
    /,
    *,
    settings: Overrides = None,
    price_per_hour: float | None = None,
    sample_speed: float | None = None,
    train_speed: float | None = None,
    as_json: AsJson = False,
) -> int:
    """Estimate what a recipe will take: tokens, time, memory, disk, cost. Runs nothing.

    Parameters
    ----------
    recipe
        A recipe file, or the name of a shipped recipe.
    price_per_hour
        What the machine costs an hour, in any currency.
    sample_speed
        Tokens a second that the machine samples, if you know it; the default is a guess for two CPU cores.
    train_speed
        Tokens a second that the machine trains on.
    """
    from autophage.plan import Speeds
    from autophage.plan import plan as make_plan
    from autophage.recipe import load_recipe

    loaded = load_recipe(recipe, settings or [])
    made = make_plan(loaded.recipe, loaded.arms, Speeds(sample_speed, train_speed), price_per_hour)
    if as_json:
        facts = {"name": loaded.recipe.name, "recipe": loaded.recipe.model_dump(mode="json"), **asdict(made)}
        print_json({**facts, "warnings": list(loaded.warnings)})
        return 0
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    one = loaded.recipe
    say(f"{one.name}: {one.description}" if one.description else one.name)
    say(f"source {one.source.kind}, model {one.model.path}, {one.model.method} rank {one.model.rank}, {one.devices}")
    say(f"{one.train.chain} chain, pool {one.mix.pool}, generations 0 to {one.generations}, seed {one.seed}")
    say()
    _print_plan(made)
    return 0


def _print_plan(made: Plan) -> None:
    headers = ["arm", "settings", ">sampled", ">trained", ">measured", ">time", ">disk"]
    print_table(headers, [_row(arm) for arm in made.arms])
    say()
    parameters = "unknown" if made.parameters is None else count(made.parameters)
    say(f"parameters  {parameters} ({made.parameters_from})")
    base = f", of it {duration(made.base_seconds)} for the base model" if made.base_seconds else ""
    say(f"time        {_or_unknown(made.seconds, duration)}{base}")
    say(f"memory      {_or_unknown(made.memory_bytes, size)}")
    say(f"disk        {_or_unknown(made.disk_bytes, size)}")
    if made.cost is not None:
        say(f"cost        {made.cost:.2f}")
    say()
    say("These are estimates. They assume:")
    for line in made.assumptions:
        say(f"  {line}")


def _row(arm: ArmPlan) -> list[object]:
    settings = ", ".join(f"{key} = {value}" for key, value in arm.settings.items())
    kind = ", ".join(part for part in ("human data only" if arm.control else "", settings) if part)
    return [
        arm.name,
        kind or "-",
        count(arm.sampled),
        count(arm.trained),
        "?" if arm.measured is None else count(arm.measured),
        duration(arm.seconds),
        "?" if arm.disk_bytes is None else size(arm.disk_bytes),
    ]


def _or_unknown(number: float | None, words: Callable[[float], str]) -> str:
    return "unknown" if number is None else f"about {words(number)}"
