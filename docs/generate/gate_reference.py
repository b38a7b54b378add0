"""The reference of the built-in gates: every kind that the package offers, with its settings."""

from __future__ import annotations

from importlib.metadata import entry_points

from recipe_reference import entries_of
from text import summary_of

from autophage.recipe.keys import read_table
from autophage.recipe.tables.gate import GROUP, gate_class


def kinds() -> str:
    """A section for each gate of this package, in alphabetical order."""
    own = sorted(point.name for point in entry_points(group=GROUP) if point.value.startswith("autophage."))
    return "\n\n".join(_section(kind) for kind in dict.fromkeys(own))


def _section(kind: str) -> str:
    model = gate_class(kind)
    module = __import__(model.__module__, fromlist=["__doc__"])
    about = summary_of(module.__doc__)
    return f"## {kind}\n\n{about}\n\n{entries_of(read_table('gate', model), kind, ('kind',))}"
