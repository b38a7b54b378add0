"""The recipe reference: every table and key of the schema, from the schema itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from text import sentence, summary_of

from autophage.recipe.keys import KEYS, TABLES, Key
from autophage.recipe.schema import Recipe
from autophage.recipe.sweeps import WHOLE_RUN, WHOLE_RUN_TABLES
from autophage.recipe.syntax.literals import toml_value

ONE_FOR_ALL = "one value for all arms"


def tables() -> str:
    """All tables of a recipe, the keys outside of tables first."""
    top = [key for key in KEYS.values() if not key.table]
    parts = ["## Top level", _entries(top)]
    for table in TABLES:
        model = Recipe.model_fields[table].annotation
        assert isinstance(model, type)
        parts += [f"## [{table}] {{ #{table} }}", own_summary(model)]
        parts.append(_entries([key for key in KEYS.values() if key.table == table]))
    return "\n\n".join(part for part in parts if part)


def own_summary(model: type) -> str:
    """The docstring that a class has itself; pydantic would pass on that of its base class."""
    return summary_of(inspect.cleandoc(model.__dict__.get("__doc__") or ""))


def entries_of(keys: Mapping[str, Key], prefix: str, without: tuple[str, ...] = ()) -> str:
    """The keys of a table that is not part of `KEYS`, such as a gate's. Anchors begin with `prefix`."""
    return "\n\n".join(
        _entry(key, f"{prefix}.{key.name}", key.name) for key in keys.values() if key.name not in without
    )


def _entries(keys: list[Key]) -> str:
    return "\n\n".join(_entry(key, key.dotted, key.dotted) for key in keys)


def _entry(key: Key, anchor: str, shown: str) -> str:
    facts = [key.allowed, default_of(key.model, key.name)]
    if key.dotted in WHOLE_RUN or key.table in WHOLE_RUN_TABLES:
        facts.append(ONE_FOR_ALL)
    term = f'<code class="key">{shown}</code> <span class="facts">{_html("; ".join(facts))}</span>'
    return f"{term} {{ #{anchor} }}\n:   {sentence(key.description)}"


def default_of(model: type[BaseModel], name: str) -> str:
    """The default of a field in words."""
    default: Any = model.model_fields[name].get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "left out by default"
    written = default if isinstance(default, str) and "\n" in default else toml_value(default)
    return f"default {' '.join(written.split())}"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("*", "&#42;")
