"""Public surfaces that users' code and files rely on. `tests/recipe` holds the recipe's keys."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from cyclopts.argument import Argument
from tests.frozen import require_frozen

import autophage as ap
from autophage.cli.app import build_app
from autophage.scoring.table import schema as score_schema
from autophage.store import answers, broken, corpus, metrics_table, numbers, training

FILES: dict[str, pa.Schema] = {
    "answers": answers.SCHEMA,
    "broken-batch": broken.SCHEMA,
    "corpus": corpus.SCHEMA,
    "corpus-of-numbers": numbers.SCHEMA,
    "metrics": metrics_table.SCHEMA,
    "score": score_schema(with_reference=True),
    "training": training.SCHEMA,
}


def test_the_public_api() -> None:
    require_frozen("api", _exports())


def test_verbs_and_their_flags() -> None:
    require_frozen("command-line", _flags())


@pytest.mark.parametrize("file", FILES)
def test_columns_of_files(file: str) -> None:
    require_frozen(f"columns-of-{file}", [f"{field.name}: {field.type}" for field in pa.schema(FILES[file])])


def _exports() -> Iterator[str]:
    """Every exported name with the signature of a function, or the bases and members of a class."""
    for name in sorted(ap.__all__):
        value = getattr(ap, name)
        if inspect.isfunction(value):
            yield f"{name}{inspect.signature(value)}"
        elif inspect.isclass(value):
            yield f"{name}({', '.join(base.__name__ for base in value.__bases__ if base is not object)})"
            if value is ap.Run:
                yield from _members(value)
        else:
            yield name


def _members(owner: type) -> Iterator[str]:
    for name, value in sorted(vars(owner).items()):
        if not name.startswith("_"):
            shown = str(inspect.signature(value)) if inspect.isfunction(value) else ""
            yield f"{owner.__name__}.{name}{shown}"


def _flags() -> Iterator[str]:
    """Every parameter of every verb with names, type and default."""
    app: Any = build_app()
    for verb in app:
        if not verb.startswith("-"):
            yield verb
            for argument in app[verb].assemble_argument_collection():
                yield f"  {_flag(argument)}"


def _flag(argument: Argument) -> str:
    names = [name for name in argument.names if name.startswith("-")] or [f"<{argument.field_info.name}>"]
    default = argument.field_info.default
    required = default is inspect.Parameter.empty
    return f"{' '.join(names)}: {_type(argument.hint)}" + ("" if required else f" = {default!r}")


def _type(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "").replace("pathlib.", "")
