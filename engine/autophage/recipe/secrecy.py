"""Refusal of recipes that hold a token or a password. A recipe is copied into the run directory and the report."""

from __future__ import annotations

from collections.abc import Iterator

from autophage.host.credentials import credential_in
from autophage.recipe.keys import SWEEP, path_of
from autophage.recipe.resolved import flat
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault

REMEDY = "a recipe is copied into the run and its report; set an environment variable such as HF_TOKEN instead"


def check_secrecy(recipe: Recipe, document: TomlDocument) -> list[Fault]:
    """Return a fault for each key whose value contains a credential; empty if none does.

    The fault does not repeat the value.
    """
    faults = []
    for dotted, value in flat(recipe).items():
        for text in _texts(value):
            if (kind := credential_in(text)) is not None:
                label = dotted.removeprefix(f"{SWEEP}.")
                faults.append(Fault(document.key_location(path_of(dotted)), f"{label} contains {kind}", (REMEDY,)))
                break
    return faults


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
