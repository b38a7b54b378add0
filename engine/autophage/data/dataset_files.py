"""Rows of a Hugging Face dataset: a hub id, a local folder, a single file, or a folder that `save_to_disk` wrote.

The `datasets` library keeps prepared copies in a cache. Its key does not always contain the content of local files: after an
edit it would return the rows of before. Local files are therefore prepared anew at each reading, in a temporary cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.display import listed, plural
from autophage.errors import UserError, foreign_errors

FILE_FORMATS = {
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow",
}  # fmt: skip
"""Builders of `datasets` by the suffix of a single file."""
REMEDY = (
    f"Give a hub id that is reachable or cached, a local dataset folder, or a file ({listed(sorted(FILE_FORMATS))})."
)
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files that `save_to_disk` writes for a dataset, and for several splits of one."""


@dataclass(frozen=True)
class DatasetText:
    """The text of a dataset's column, and the number of rows without text."""

    text: str
    empty: int

    @property
    def note(self) -> str:
        """Message for the user that counts the rows without text; empty if there are none."""
        return f"left out {plural(self.empty, 'row')} of the dataset without text" if self.empty else ""


def read_column(path: str, config: str | None, split: str, column: str) -> DatasetText:
    """Return the texts of a column, one row a line.

    A row of a conversation, which is a list of messages, becomes the contents of its messages, one a line.

    Raises:
        UserError: There is no such dataset, split or column, or the column holds no text.
    """
    with loaded_rows(path, config, split, "source.path") as rows:
        if column not in rows.column_names:
            raise UserError(f"source.column = {column!r}: the dataset's columns are {', '.join(rows.column_names)}.")
        texts = [_text_of(value) for value in rows[column]]
    kept = [text for text in texts if text is not None]
    if texts and not kept:
        raise UserError(
            f"source.column = {column!r}: holds no text. It needs strings, or lists of messages with a role and a content."
        )
    return DatasetText("\n".join(kept), len(texts) - len(kept))


def _text_of(value: object) -> str | None:
    """Return the text of a row, or None if it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
        contents = [turn.get("content") for turn in value]
        return "\n".join(content for content in contents if isinstance(content, str)) or None
    return None


@contextmanager
def loaded_rows(path: str, config: str | None, split: str, key: str) -> Iterator[Any]:
    """Yield the rows of a split as a `datasets.Dataset`. It must not be used afterwards.

    Args:
        key: Recipe key of `path`, for messages.

    Raises:
        UserError: The dataset or the split cannot be loaded.
    """
    import datasets

    datasets.disable_progress_bars()
    which = f"split {split!r}" + (f" of {config!r}" if config else "")
    with (
        tempfile.TemporaryDirectory(prefix="autophage-dataset-") as scratch,
        foreign_errors(f"{key} = {path!r}: cannot be loaded as a dataset with {which}", REMEDY),
    ):
        yield _load(path, config, split, scratch)


def _load(path: str, config: str | None, split: str, scratch: str) -> Any:
    import datasets

    local = Path(path)
    if local.is_file():
        if local.suffix.lower() not in FILE_FORMATS:
            raise UserError(
                f"{path}: is no dataset file; their suffixes are {listed(sorted(FILE_FORMATS))}. "
                'Read plain text with source.kind = "text".'
            )
        more = {"delimiter": "\t"} if local.suffix.lower() == ".tsv" else {}
        builder = FILE_FORMATS[local.suffix.lower()]
        # A single file has no splits: its rows are those of any split that is asked for.
        files = {split.partition("[")[0]: str(local.resolve())}
        return datasets.load_dataset(builder, data_files=files, split=split, cache_dir=scratch, **more)
    if (local / SAVED_SPLITS).is_file() or (local / SAVED).is_file():
        saved = datasets.load_from_disk(path)
        if isinstance(saved, datasets.Dataset):
            return saved
        if split not in saved:
            raise ValueError(f"its splits are {', '.join(map(str, saved))}")
        return saved[split]
    if local.is_dir():
        return datasets.load_dataset(str(local.resolve()), config, split=split, cache_dir=scratch)
    return datasets.load_dataset(path, config, split=split)
