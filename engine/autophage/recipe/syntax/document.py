"""A TOML file as it is written: its values, and the location of each.

Reading, decoding and parsing happen here. A failure is one message with line and column. This module does not know which keys
exist.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from autophage.display import safe
from autophage.errors import RecipeError
from autophage.recipe.syntax.faults import Fault, Location
from autophage.recipe.syntax.positions import KeyPath, Mark, Position, locate

LARGEST = 1 << 20
"""Maximum bytes of a recipe file. A larger file was given by mistake, such as a model, and is not read."""

RESOLVED = "# A complete recipe, as autophage resolved it: every key, with where its value was written."
"""First line of a resolved recipe. Such a file writes every key, so its unused defaults cause no warnings."""

_HINTS = (
    ("Invalid value", 'a string is written in quotes ("..."); true, false and numbers are not'),
    ("Cannot", "a key or a table is written twice: keep one of them"),
    ("Expected '='", "a line is: key = value"),
    ("Invalid statement", "a line is: key = value, or [table], or a # comment"),
    ("Illegal character '\\n'", "a string in quotes ends on its line; a longer one needs three quotes"),
    ("Unescaped '\\'", "write a backslash twice, or use single quotes: 'C:\\texts'"),
)


@dataclass
class TomlDocument:
    """The values of a TOML file, and their locations.

    Attributes:
        path: the file.
        display: the name of the file in messages.
        data: the values of the file, with those of --set laid over them.
        marks: position of each key and value in the file.
        empty: True if the file has no key.
        resolved: True if the file is a resolved recipe.
        overrides: keys of --set to their locations.
        faults: faults that were found while the document was rewritten.
    """

    path: FilePath
    display: str
    data: dict[str, Any]
    marks: dict[KeyPath, Mark]
    empty: bool = False
    resolved: bool = False
    overrides: dict[KeyPath, Location] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def key_location(self, path: KeyPath) -> Location:
        return self._find(path, value=False)

    def value_location(self, path: KeyPath) -> Location:
        return self._find(path, value=True)

    def written(self, path: KeyPath) -> bool:
        return path in self.overrides or path in self.marks

    def put(self, path: KeyPath, value: object, location: Location) -> None:
        """Replace the value at the key path `path`, and its location."""
        for old in [mark for mark in self.marks if mark[: len(path)] == path]:
            del self.marks[old]
        for old in [known for known in self.overrides if known[: len(path)] == path]:
            del self.overrides[old]
        self.overrides[path] = location
        table = self.data
        for part in path[:-1]:
            table = table.setdefault(str(part), {})
        table[str(path[-1])] = value

    def _find(self, path: KeyPath, value: bool) -> Location:
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return self.overrides[path[:length]]
            mark = self.marks.get(path[:length])
            if mark is not None:
                return location_in_file(self.display, mark.value if value and length == len(path) else mark.key)
        return location_in_file(self.display, Position(1, 1))


def location_in_file(display: str, position: Position) -> Location:
    line, column = position
    return Location(f"{display}:{line}:{column}", f"{display}:{line}", (0, line, column))


def read_document(path: FilePath, display: str) -> TomlDocument:
    """Read and parse the TOML file `path`. Messages call it `display`.

    Raises:
        RecipeError: the file cannot be read, decoded or parsed.
    """
    display = safe(display)
    text = _decode(_read(path, display), display).replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
        marks = locate(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_syntax(display, text, str(error))) from None
    except (RecursionError, ValueError) as error:  # a thousand nested brackets, or a number of thousands of digits
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RecipeError(f"{display}:1:1: this is not a recipe: {reason}") from None
    return TomlDocument(path, display, data, marks, empty=not data, resolved=text.startswith(RESOLVED))


def flat_items(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of nested tables with its keys: `mix.alpha = 1` gives `("mix", "alpha"), 1`.

    Args:
        above: Keys to put before those of `table`.
    """
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat_items(value, (*above, name))
        else:
            yield (*above, name), value


def _read(path: FilePath, display: str) -> bytes:
    try:
        size = path.stat().st_size
        if path.is_file() and size > LARGEST:
            raise RecipeError(
                f"{display}: is {size:,} bytes long, too long for a recipe\n    give a .toml file or the name of a shipped recipe"
            )
        if not path.is_file() and not path.is_dir():
            raise RecipeError(f"{display}: is not a file\n    give a .toml file or the name of a shipped recipe")
        return path.read_bytes()
    except IsADirectoryError:
        raise RecipeError(f"{display}: is a folder, not a recipe\n    {_inside(path)}") from None
    except PermissionError:
        raise RecipeError(f"{display}: may not be read (permission denied)\n    to fix it: chmod u+r") from None
    except OSError as error:
        raise RecipeError(f"{display}: cannot be read: {error.strerror}") from None


def _inside(folder: FilePath) -> str:
    recipes = sorted(path.name for path in folder.glob("*.toml")) if os.access(folder, os.R_OK) else []
    if not recipes:
        return "give a .toml file or the name of a shipped recipe"
    return f"give one of the files in it: {safe(', '.join(recipes[:10]))}"


def _decode(content: bytes, display: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8 text"
        raise RecipeError(f"{display}:{line}:{column}: {wrong}\n    save the file as UTF-8") from None


def _syntax(display: str, text: str, message: str) -> str:
    """Return the message of a syntax error, with line and column.

    The message of tomllib ends with "(at line 3, column 9)" or "(at end of document)".
    """
    lines = text.split("\n")
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    reason, line, column = found.groups() if found else (message, None, None)
    row = int(line) if line else len(lines)
    character = int(column) if column else len(lines[-1]) + 1
    parts = [f"{display}:{row}:{character}: this is not TOML: {safe(reason)}"]
    if lines[row - 1].strip():
        parts.append(safe(lines[row - 1].strip()))
    parts += [hint for start, hint in _HINTS if reason.startswith(start)]
    return "\n    ".join(parts)
