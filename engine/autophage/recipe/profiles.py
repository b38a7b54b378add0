"""Profiles: one recipe at several scales, `[profiles.tiny]` for two cores and `[profiles.full]` for the paper's own models.

A profile is a table of tables, like the recipe itself. The chosen profile is laid over the recipe before anything is checked.
Each value replaces one value and keeps its location in the file. A profile's sweep replaces the whole sweep. `profile` at the
top of the file names the default. This module does not know which keys exist.
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
    """Lay a profile over `document` and remove `[profiles]`.

    Args:
        asked: Name of the profile; None takes the default of the file. A file without profiles stays as it is.

    Raises:
        RecipeError: the profile does not exist, `[profiles]` has another form, or there are profiles and no default.
    """
    if document.resolved:
        if asked is not None and asked != document.data.get(PROFILE, ""):
            raise RecipeError(
                f"{document.display}: this is a resolved recipe, with profile = {_of(document)}; its profile cannot be changed"
            )
        return
    profiles = document.data.pop(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        location = document.value_location((PROFILES,)).text
        raise RecipeError(
            f"{location}: a profile is a table\n    write [{PROFILES}.tiny] and below it the values that differ"
        )
    name = document.data.get(PROFILE) if asked is None else asked
    if not isinstance(name, str | None) or (name is None and not profiles):
        return  # the schema reports a value that is not a string
    if name is None:
        location = document.key_location((PROFILES,)).text
        raise RecipeError(
            f"{location}: no profile is chosen; the recipe has {_listed(profiles)}\n"
            f"    choose one with --profile, or write the default at the top: {PROFILE} = {shown(next(iter(profiles)))}"
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
    lines.append(f"its profiles: {_listed(profiles)}" if profiles else "it has no profiles: leave the profile out")
    return "\n    ".join(lines)


def _listed(profiles: dict[str, Any]) -> str:
    return ", ".join(map(safe, profiles))


def _of(document: TomlDocument) -> str:
    return shown(document.data.get(PROFILE, ""))
