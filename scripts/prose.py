"""Measure the docstrings of Python files: length of sentences, internal marks, banned openings.

    python scripts/prose.py engine kernels --worst 20
    python scripts/prose.py engine --limit-words 13 --limit-marks 1.0    # exit code 1 above a limit

Docstrings belong to modules, classes and functions. Strings that follow an assignment count too (attribute docstrings). A code
span in backticks counts as one word. Literal blocks, tables and section headers (`Args:`) are not prose, nor is the name of a
section's entry (`UserError: ...`). A list item ends a sentence.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from math import inf
from pathlib import Path
from statistics import fmean

HEADER = re.compile(r"(Args|Arguments|Attributes|Examples?|Notes?|Raises|References|Returns|Warns|Yields):")
ENTRY = re.compile(r"^(\*{0,2}[\w.]+|CODE)(, (\w+|CODE))*( \([^)]*\))?: ")
EXCEPTION = re.compile(r"^(\w*(Error|Exception|Warning|Exit|Interrupt)|CODE): ")
ITEM = re.compile(r"^([-*]|\d+\.) ")
FENCE = re.compile(r"(?ms)^\s*```.*?^\s*```$")
SPAN = re.compile(r"(`+)(?!`)(?:(?!\1).)+?\1", re.DOTALL)
NUMPY = re.compile(r"(?ms)^\w+\n-{3,}$.*")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|cf|vs|etc|al)\.")
END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[^a-z\s]|[a-z]+[A-Z])")
MARK = re.compile(r"[,;:](?=\s)|\(|—")
BANNED = ("What", "Whether", "How", "Where")
WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a docstring, with the file and line of the docstring."""

    place: str
    text: str

    @property
    def words(self) -> int:
        """Number of whitespace-separated tokens with a letter or digit."""
        return sum(1 for token in self.text.split() if WORD.search(token))

    @property
    def marks(self) -> int:
        """Number of `, ; : ( —` inside the sentence."""
        return len(MARK.findall(self.text.rstrip(".:;!? ")))

    @property
    def banned(self) -> bool:
        """True if the first word is one of `BANNED`."""
        return re.split(r"\W", self.text, maxsplit=1)[0] in BANNED


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, attribute docstrings included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for before, statement in zip([None, *body], body, strict=False) if isinstance(body, list) else ():
            if isinstance(before, ast.Assign | ast.AnnAssign) or (before is None and documented):
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield statement.lineno, cleandoc(value.value)


def paragraphs(text: str) -> Iterator[str]:
    """Prose of a docstring, one paragraph, list item or section entry at a time. `CODE` replaces a code span."""
    lines: list[str] = []
    literal, section = False, False
    text = NUMPY.sub(lambda found: re.sub(r"(?m)^\S.*$", "Args:", found[0]), text)
    text = SPAN.sub("CODE", FENCE.sub("", ABBREVIATION.sub(r"\1", text)))
    for line in [*text.splitlines(), ""]:
        bare, indented = line.strip(), line.startswith(" ")
        header, item = bool(HEADER.fullmatch(bare)), bool(ITEM.match(bare))
        name = (ENTRY if section else EXCEPTION).match(bare)
        literal = (indented and not section and not item and (literal or not lines)) or (literal and not bare)
        skipped = not bare or header or literal or bare.startswith(("|", ">>>"))
        if lines and (skipped or item or name):
            yield " ".join(lines)
            lines = []
        section = header or (section and (indented or not bare))
        if not skipped:
            lines.append(ITEM.sub("", bare[name.end() :] if name else bare))


def sentences(path: Path) -> tuple[int, list[Sentence]]:
    """Number of docstrings of a file, and their sentences."""
    found = list(docstrings(ast.parse(path.read_text(encoding="utf-8"))))
    split = ((line, part) for line, text in found for paragraph in paragraphs(text) for part in END.split(paragraph))
    return len(found), [Sentence(f"{path}:{line}", part) for line, part in split if WORD.search(part)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the measurements. Return 1 if a mean is above its limit, else 0."""
    parser = argparse.ArgumentParser(description="Measure the docstrings of Python files.")
    parser.add_argument("paths", nargs="+", type=Path, help="files, or directories that are searched for *.py")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="list the N longest sentences, N banned ones")
    parser.add_argument("--limit-words", type=float, default=inf, help="largest mean words a sentence")
    parser.add_argument("--limit-marks", type=float, default=inf, help="largest mean internal marks a sentence")
    options = parser.parse_args(arguments)
    files = [file for path in options.paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    read = [sentences(file) for file in files]
    said = sorted((one for _, some in read for one in some), key=lambda one: -one.words)
    words, marks = (fmean([getattr(one, name) for one in said] or [0.0]) for name in ("words", "marks"))
    banned = [one for one in said if one.banned]
    print(
        f"{sum(count for count, _ in read)} docstrings, {len(said)} sentences: {words:.2f} words and {marks:.2f} marks"
    )
    print(f"a sentence; {len(banned) / max(1, len(said)):.1%} ({len(banned)}) begin with {', '.join(BANNED)}")
    for one in [*said[: options.worst], *banned[: options.worst]]:
        print(f"{one.place}: {one.words} words, {one.marks} marks: {one.text}")
    return int(words > options.limit_words or marks > options.limit_marks)


if __name__ == "__main__":
    sys.exit(main())
