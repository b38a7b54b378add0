"""Documents, and overlapping windows for models of bounded context.

Each token is scored once, in the window that gives it the most context. Windows begin `stride` tokens apart. The
tokens that a window shares with its predecessor are context only. The first token of a document has no context and is
not scored. This is the strided perplexity of the transformers documentation ("Perplexity of fixed-length models").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autophage.data.text_files import SUFFIXES, read_file, text_files
from autophage.errors import UserError


@dataclass(frozen=True)
class NamedText:
    """A document to score: its text and its name in the output."""

    name: str
    text: str


@dataclass(frozen=True)
class ContextWindow:
    """A window of a document: the tokens from index `begin` up to but not including `end`.

    Tokens from `first` on are scored. Those before are context only. begin < first < end.
    """

    begin: int
    first: int
    end: int


@dataclass(frozen=True)
class ScoringInput:
    """The documents to score, and a message for the user that counts files left out; empty if none is."""

    texts: list[NamedText]
    note: str = ""


def read_documents(path: Path) -> ScoringInput:
    """Read the documents to score: a text file as one, or each text file of a folder as one, sorted by path.

    Raises:
        UserError: The path is missing, holds no text, or is not UTF-8.
    """
    if path.is_dir():
        files = text_files(path)
        if not files.read:
            raise UserError(f"{path}: the folder holds no {', '.join(SUFFIXES)} file.")
        documents = ScoringInput(
            [NamedText(str(file.relative_to(path)), read_file(file)) for file in files.read], files.note
        )
    elif path.is_file():
        documents = ScoringInput([NamedText(path.name, read_file(path))])
    else:
        raise UserError(f"{path}: there is no such file or folder.")
    if not any(document.text.strip() for document in documents.texts):
        raise UserError(f"{path}: holds no text. Give a file or folder with some.")
    return documents


def windows(length: int, context: int, stride: int) -> Iterator[ContextWindow]:
    """Yield overlapping windows over a document of `length` tokens, so that each token but the first is scored once.

    A window has at most `context` tokens. Windows begin `stride` tokens apart. A document of fewer than two tokens
    has none.
    """
    scored = 1
    for begin in range(0, length, stride):
        end = min(begin + context, length)
        first = max(scored, begin + 1)
        if first < end:
            yield ContextWindow(begin, first, end)
        scored = end
        if end == length:
            return
