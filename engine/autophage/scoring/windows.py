"""Documents, and the overlapping windows in which a model with a bounded context reads them.

Each token is scored once, in the window that gives it the most context: windows begin `stride` tokens apart, and what a window
shares with the one before it is context only. A document's first token has nothing before it and is not scored. This is the
strided perplexity of the transformers documentation ("Perplexity of fixed-length models").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autophage.data.text_source import SUFFIXES, read_file, text_files
from autophage.errors import UserError


@dataclass(frozen=True)
class NamedText:
    name: str
    text: str


@dataclass(frozen=True)
class ContextWindow:
    """Tokens begin..end of a document; those from `first` on are scored. begin < first <= end."""

    begin: int
    first: int
    end: int


def read_documents(path: Path) -> list[NamedText]:
    """A UTF-8 file as one document, or every text file of a folder as one each, in the order of their names.

    Raises:
        UserError: nothing there, nothing in it, or not UTF-8.
    """
    if path.is_dir():
        files = text_files(path)
        if not files:
            raise UserError(f"{path}: the folder holds no {', '.join(SUFFIXES)} file.")
        documents = [NamedText(str(file.relative_to(path)), read_file(file)) for file in files]
    elif path.is_file():
        documents = [NamedText(path.name, read_file(path))]
    else:
        raise UserError(f"{path}: there is no such file or folder.")
    if not any(document.text.strip() for document in documents):
        raise UserError(f"{path}: holds no text. Give a file or folder with some.")
    return documents


def windows(length: int, context: int, stride: int) -> Iterator[ContextWindow]:
    """The windows of a document of `length` tokens; none for one with fewer than two."""
    scored = 1
    for begin in range(0, length, stride):
        end = min(begin + context, length)
        first = max(scored, begin + 1)
        if first < end:
            yield ContextWindow(begin, first, end)
        scored = end
        if end == length:
            return
