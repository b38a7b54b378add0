"""The text of a column of a Hugging Face dataset, one row a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autophage.data.dataset_rows import loaded_rows
from autophage.data.pointers import FIRST_BYTES
from autophage.display import plural
from autophage.errors import UserError


@dataclass(frozen=True)
class DatasetText:
    """The text of a dataset's column, and messages for the user about what was left out."""

    text: str
    notes: tuple[str, ...]


def read_column(path: str, config: str | None, split: str, column: str) -> DatasetText:
    """Return the texts of a column.

    A row of a conversation, which is a list of messages, becomes the contents of its messages, one a line. Rows without text
    and rows with NUL characters are left out.

    Raises:
        UserError: There is no such dataset, split or column, or the column holds no text.
    """
    with loaded_rows(path, config, split, "source.path", texts=(column,)) as loaded:
        if column not in loaded.rows.column_names:
            raise UserError(
                f"source.column = {column!r}: the dataset's columns are {', '.join(loaded.rows.column_names)}."
            )
        rows = [_pieces(value) for value in loaded.rows[column]]
    told = [row for row in rows if any(piece is not None for piece in row)]
    texts = ["\n".join(piece for piece in row if piece is not None) for row in told]
    kept = [text for text in texts if "\0" not in text]
    if rows and not kept:
        raise UserError(
            f"source.column = {column!r}: holds no text. It needs strings, or lists of messages with a role and a content; "
            "and no NUL characters."
        )
    if any(text.startswith(FIRST_BYTES.decode()) for text in kept):
        raise UserError(
            f"source.path = {path!r}: holds the text of a Git LFS pointer. Download its files: `git lfs pull`."
        )
    counts = (
        (len(rows) - len(texts), "row", "of the dataset without text"),
        (len(texts) - len(kept), "row", "of the dataset with NUL characters"),
        (sum(row.count(None) for row in told), "message", "without text"),
    )
    notes = (f"left out {plural(count, what)} {fault}" for count, what, fault in counts if count)
    return DatasetText("\n".join(kept), (*loaded.warnings, *notes))


def _pieces(value: object) -> list[str | None]:
    """Return the text of a row, or those of its messages. None stands for what is no text."""
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
        return [_content(turn.get("content")) for turn in value]
    return [value if isinstance(value, str) else None]


def _content(content: object) -> str | None:
    """Return the text of a message's content: a string, or a list of parts with a text."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return content if isinstance(content, str) else None
