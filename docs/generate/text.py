"""Markdown for text that was written for a terminal: escaping, links to arXiv, sentences."""

from __future__ import annotations

import re

ARXIV = re.compile(r"(?:arXiv[: ])(\d{4}\.\d{4,5})")
VALUE = re.compile(r"`|[\w-]+(, [\w-]+)*[:;] ")
"""Beginnings that keep their case: code, and values of a key as in `lora: rank of the adapter`."""
SPECIAL = re.compile(r"([\\*<>\[\]|])")


def prose(text: str) -> str:
    """`text` as one Markdown paragraph. Markup characters are escaped; arXiv numbers become links."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = (piece if piece.startswith("`") else SPECIAL.sub(r"\\\1", piece) for piece in pieces)
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", "".join(escaped))


def sentence(text: str) -> str:
    """`prose` with a capital letter at its start, unless a value of a key stands there, and a full stop at its end."""
    done = prose(text)
    if not done:
        return done
    first = done if VALUE.match(done) else done[0].upper() + done[1:]
    return first if first.endswith((".", "?", "!")) else f"{first}."


def summary_of(docstring: str | None) -> str:
    """The paragraphs of a docstring up to its first section, as Markdown. Indented blocks become code."""
    paragraphs = []
    for block in filter(None, re.split(r"\n\s*\n", (docstring or "").strip())):
        lines = block.splitlines()
        if re.fullmatch(r"\s*(Args|Attributes|Examples?|Raises|Returns|Yields):", lines[0]):
            break
        if all(line.startswith("    ") for line in lines):
            paragraphs.append("\n".join(lines))
        else:
            paragraphs.append(prose(block))
    return "\n\n".join(paragraphs)


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table. Cells are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
