"""The keys of a recipe are frozen, with their types and defaults."""

from __future__ import annotations

from collections.abc import Iterator

from tests.frozen import require_frozen

from autophage.recipe.keys import KEYS, Key, read_table
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.gate import GATE, gate_class, installed_gates


def entry(label: str, key: Key) -> str:
    """`mix.alpha: a number from 0 to 1; default 1.0`."""
    field = key.model.model_fields[key.name]
    if field.is_required():
        return f"{label}: {key.allowed}; required"
    default = field.get_default(call_default_factory=True)
    return f"{label}: {key.allowed}; default {'none' if default is None else toml_value(default)}"


def keys() -> Iterator[str]:
    for dotted, key in KEYS.items():
        yield entry(dotted, key)
    for kind in installed_gates():
        gate = gate_class(kind)
        if gate.__module__.startswith("autophage."):
            yield from (entry(f"{GATE}.{kind}.{key.name}", key) for key in read_table(GATE, gate).values())


def test_keys_types_and_defaults_are_frozen() -> None:
    require_frozen("recipe-keys", keys())
