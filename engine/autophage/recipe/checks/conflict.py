"""Values of a recipe that do not go together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conflict:
    """Values of a recipe that do not go together.

    `keys` are the dotted keys involved. The message points at the first that is written. `wrong` and `remedies` are its
    words.
    """

    keys: tuple[str, ...]
    wrong: str
    remedies: tuple[str, ...]
