"""A fault of a TOML text: its location, the error, and the remedies.

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
    """Place of a key or value: a position in a file, or a --set argument.

    Attributes:
        text: for errors, with line and column.
        provenance: for everything else, without the column.
        order: sort key; the file comes before --set.
        override: True for --set.
    """

    text: str
    provenance: str
    order: tuple[int, int, int]
    override: bool = False

    def replacement(self, dotted: str, value: object) -> str:
        """Return the text to write at this place, so that the key `dotted` has `value`.

        In a file it is the value in TOML. On the command line it is the whole argument.
        """
        literal = toml_value(value)
        return f"--set {shlex.quote(f'{dotted}={literal}')}" if self.override else literal


@dataclass(frozen=True)
class Fault:
    """One fault of a recipe: its location, what is wrong, and one line for each remedy."""

    location: Location
    wrong: str
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.location.text}: {self.wrong}", *self.remedies])


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise one `RecipeError` that lists all faults in the order of the file, then those of --set.

    Without faults, nothing happens.
    """
    found = sorted(faults, key=lambda fault: fault.location.order)
    if found:
        raise RecipeError("\n".join(dict.fromkeys(map(str, found))))
