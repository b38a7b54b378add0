"""Profiles: one recipe at several scales, `[profiles.tiny]` for two cores and `[profiles.full]` for the paper's own models.

A profile is a table of tables like the recipe itself. The one that is chosen is laid over the rest before anything is
checked, value by value, and keeps its places in the file; its sweep replaces the whole sweep. `profile` at the top of
the file names the one that is taken where nobody chooses. It does not know which keys exist.
"""

from __future__ import annotations

import difflib
from typing import Any

from autophage.display import safe
from autophage.errors import RecipeError
from autophage.recipe.keys import SWEEP
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.literals import shown
from autophage.recipe.syntax.positions import KeyPath, Mark

PROFILE, PROFILES = "profile", "profiles"


def choose_profile(document: TomlDocument, asked: str | None = None) -> None:
    """Lay the profile `asked` for, else the one that the file names, over `document`, and take the others away.

    Raises:
        RecipeError: there is none of that name.
    """
    if document.resolved:
        if asked is not None and asked != document.data.get(PROFILE, ""):
            raise RecipeError(f"{document.display}: this recipe is resolved already, with profile = {_of(document)}")
        return
    profiles = document.data.pop(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        location = document.value_location((PROFILES,)).text
        raise RecipeError(
            f"{location}: profiles are tables\n    write [{PROFILES}.tiny] and below it what differs there"
        )
    name = document.data.get(PROFILE) if asked is None else asked
    if not isinstance(name, str | None) or (name is None and not profiles):
        return  # the schema says what is wrong with one that is no text
    if name is None:
        location = document.key_location((PROFILES,)).text
        raise RecipeError(
            f"{location}: which profile? the recipe has {_listed(profiles)}\n"
            f"    give one with --profile, or name the usual one at the top: {PROFILE} = {shown(next(iter(profiles)))}"
        )
    if name not in profiles:
        raise RecipeError(_unknown(document, name, profiles, asked is not None))
    prefix = (PROFILES, name)
    _lay_over(document, profiles[name], prefix)
    marks = {path: mark for path, mark in document.marks.items() if path[0] != PROFILES}
    document.marks = marks
    document.data[PROFILE] = name


def _lay_over(document: TomlDocument, table: dict[str, Any], prefix: KeyPath) -> None:
    moved: dict[KeyPath, Mark] = {
        path[len(prefix) :]: mark
        for path, mark in document.marks.items()
        if path[: len(prefix)] == prefix and len(path) > len(prefix)
    }
    for key, value in table.items():
        below = document.data.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key != SWEEP:
            for name, item in value.items():
                _forget(document, (key, name))
                below[name] = item
        else:
            _forget(document, (key,))
            document.data[key] = value
    document.marks |= moved


def _forget(document: TomlDocument, path: KeyPath) -> None:
    for old in [mark for mark in document.marks if mark[: len(path)] == path]:
        del document.marks[old]


def _unknown(document: TomlDocument, name: object, profiles: dict[str, Any], asked: bool) -> str:
    where = f"--profile {safe(str(name))}" if asked else document.value_location((PROFILE,)).text
    lines = [f"{where}: {document.display} has no profile {shown(name)}"]
    close = difflib.get_close_matches(str(name), profiles, n=1, cutoff=0.5)
    if close:
        lines.append(f"did you mean {close[0]}?")
    lines.append(f"it has {_listed(profiles)}" if profiles else "it has none: leave the profile out")
    return "\n    ".join(lines)


def _listed(profiles: dict[str, Any]) -> str:
    return ", ".join(map(safe, profiles))


def _of(document: TomlDocument) -> str:
    return shown(document.data.get(PROFILE, ""))
