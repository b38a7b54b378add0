"""Line and column of each key and value of a TOML text. The parser of the standard library does not report them.

`tomllib` must have accepted the text. The scanner follows the grammar only as far as positions need it, and checks nothing.
"""

from __future__ import annotations

import bisect
import tomllib
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a document: `("measure", "formats", 0)`."""

_BLANK = " \t\n"
_BARE_END = ",]}#\n"


class Position(NamedTuple):
    """Line and column, both from 1. A column counts characters."""

    line: int
    column: int


class Mark(NamedTuple):
    """Position of a key and of its value. Both are equal for list items and `[table]` headers."""

    key: Position
    value: Position


def locate(text: str) -> dict[KeyPath, Mark]:
    """Return the positions of every key, table, list and list item of a TOML text, by key path.

    The text is valid and has LF line ends.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.marks


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text + "\n"  # so that a look-ahead never passes the end
        self.size = len(text)
        self.at = 0
        self.marks: dict[KeyPath, Mark] = {}
        self.lengths: dict[KeyPath, int] = {}  # of arrays of tables
        self.starts = [0, *(offset + 1 for offset, character in enumerate(text) if character == "\n")]

    def position(self, offset: int) -> Position:
        line = bisect.bisect_right(self.starts, offset)
        return Position(line, offset - self.starts[line - 1] + 1)

    def mark(self, path: KeyPath, key: int, value: int) -> None:
        """Record the offsets of the key and the value at `path` as positions.

        The first mark of a path wins: `[a.b]` before `[a]` already marks `a`.
        """
        self.marks.setdefault(path, Mark(self.position(key), self.position(value)))

    def document(self) -> None:
        table: KeyPath = ()
        self.blank()
        while self.at < self.size:
            if self.text.startswith("[[", self.at):
                table = self.header(2)
            elif self.text[self.at] == "[":
                table = self.header(1)
            else:
                self.pair(table)
            self.blank()

    def header(self, brackets: int) -> KeyPath:
        """Scan `[a.b]` or `[[a.b]]`, and return the key path of the table.

        A name that is an array of tables means its last table.
        """
        self.at += brackets
        parts = self.key()
        self.at += brackets
        path: KeyPath = ()
        for number, (part, offset) in enumerate(parts, 1):
            path = (*path, part)
            self.mark(path, offset, offset)
            if brackets == 2 and number == len(parts):
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
                self.mark(path, offset, offset)
        return path

    def pair(self, table: KeyPath) -> None:
        parts = self.key()
        self.at += 1  # the equals sign
        self.spaces()
        path = table
        for part, offset in parts[:-1]:
            path = (*path, part)
            self.mark(path, offset, offset)
        last, offset = parts[-1]
        path = (*path, last)
        self.mark(path, offset, self.at)
        self.value(path)

    def key(self) -> list[tuple[str, int]]:
        """Scan a dotted key and the blanks after it. Return its parts, each with its offset in the text."""
        parts = []
        while True:
            self.spaces()
            start = self.at
            if self.text[start] in "\"'":
                self.string()
                parts.append((str(tomllib.loads(f"key = {self.text[start : self.at]}")["key"]), start))
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                parts.append((self.text[start : self.at], start))
            self.spaces()
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            while self.text[self.at] not in _BARE_END:
                self.at += 1

    def array(self, path: KeyPath) -> None:
        self.at += 1
        self.separators()
        index = 0
        while self.text[self.at] != "]":
            self.mark((*path, index), self.at, self.at)
            self.value((*path, index))
            self.separators()
            index += 1
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.separators()
        while self.text[self.at] != "}":
            self.pair(path)
            self.separators()
        self.at += 1

    def string(self) -> None:
        quote = self.text[self.at]
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        while not self.text.startswith(fence, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(fence)
        if len(fence) == 3:  # up to two quotes may precede the closing three
            for _ in range(2):
                self.at += self.text[self.at] == quote

    def spaces(self) -> None:
        while self.text[self.at] in " \t":
            self.at += 1

    def blank(self) -> None:
        """Skip blanks, line ends and comments."""
        while self.at < self.size:
            if self.text[self.at] == "#":
                self.at = self.text.index("\n", self.at)
            elif self.text[self.at] in _BLANK:
                self.at += 1
            else:
                return

    def separators(self) -> None:
        self.blank()
        while self.text[self.at] == ",":
            self.at += 1
            self.blank()
