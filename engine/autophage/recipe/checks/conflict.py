"""Values of a recipe that do not go together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conflict:
    """Values that do not go together. `keys` are the keys involved; the message points at the first that is written."""

    keys: tuple[str, ...]
    wrong: str
    remedies: tuple[str, ...]
