"""A fault of a TOML text: its location, what is wrong, and the remedies.

It does not know files, command lines or the schema of a recipe.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from autophage.errors import RecipeError
from autophage.recipe.syntax.literals import toml_value


@dataclass(frozen=True)
class Location:
    """Where something is written. `text` is for errors, `provenance` (without the column) for everything else."""

    text: str
    provenance: str
    order: tuple[int, int, int]
    override: bool = False

    def mended(self, dotted: str, value: object) -> str:
        """What to write here instead: a value in a file, a whole argument on the command line."""
        literal = toml_value(value)
        return f"--set {shlex.quote(f'{dotted}={literal}')}" if self.override else literal


@dataclass(frozen=True)
class Fault:
    location: Location
    wrong: str
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.location.text}: {self.wrong}", *self.remedies])


def raise_faults(faults: Iterable[Fault]) -> None:
    """One `RecipeError` with all faults as they are written, the file before --set; nothing if there are none."""
    found = sorted(faults, key=lambda fault: fault.location.order)
    if found:
        raise RecipeError("\n".join(dict.fromkeys(map(str, found))))
