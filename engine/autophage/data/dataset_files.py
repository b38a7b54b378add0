"""Rows of a Hugging Face dataset: a hub id, a local folder, a single file, or a folder that `save_to_disk` wrote.

The `datasets` library keeps prepared copies in a cache. Its key does not always contain the content of local files: after an
edit it would return the rows of before. Local files are therefore prepared anew at each reading, in a temporary cache.

The library logs what it leaves out, as a README whose configurations it cannot read. These warnings become notes for the user.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.data.pointers import FIRST_BYTES, refuse_pointer
from autophage.display import listed, plural
from autophage.errors import UserError, first_line, foreign_errors

FILE_FORMATS = {
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow",
}  # fmt: skip
"""Builders of `datasets` by the suffix of a single file."""
REMEDY = (
    f"Give a hub id that is reachable or cached, a local dataset folder, or a file ({listed(sorted(FILE_FORMATS))})."
)
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files that `save_to_disk` writes for a dataset, and for several splits of one."""


LOGGERS = ("datasets", "huggingface_hub")
"""Libraries whose warnings about a dataset are collected."""
README_LOGGER = "huggingface_hub.repocard"
"""Logger of the one warning about a README without a block of metadata."""
FAILED_FILE = re.compile(r"file '([^']+)'")
"""The file that a logged error of `datasets` names. Its exception does not name it."""
STREAM_START, STREAM_END = b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\0"
"""First and last bytes of an Arrow stream. pyarrow reads one that was cut between two batches without an error."""


@dataclass(frozen=True)
class Loaded:
    """Rows of a split as a `datasets.Dataset`, and the warnings of its library."""

    rows: Any
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class DatasetText:
    """The text of a dataset's column, and messages for the user about what was left out."""

    text: str
    notes: tuple[str, ...]


def read_column(path: str, config: str | None, split: str, column: str) -> DatasetText:
    """Return the texts of a column, one row a line.

    A row of a conversation, which is a list of messages, becomes the contents of its messages, one a line. Rows without text
    and rows with NUL characters are left out.

    Raises:
        UserError: There is no such dataset, split or column, or the column holds no text.
    """
    with loaded_rows(path, config, split, "source.path") as loaded:
        if column not in loaded.rows.column_names:
            raise UserError(
                f"source.column = {column!r}: the dataset's columns are {', '.join(loaded.rows.column_names)}."
            )
        texts = [_text_of(value) for value in loaded.rows[column]]
    found = [text for text in texts if text is not None]
    kept = [text for text in found if "\0" not in text]
    if texts and not kept:
        raise UserError(
            f"source.column = {column!r}: holds no text. It needs strings, or lists of messages with a role and a content; "
            "and no NUL characters."
        )
    if any(text.startswith(FIRST_BYTES.decode()) for text in kept):
        raise UserError(
            f"source.path = {path!r}: holds the text of a Git LFS pointer. Download its files: `git lfs pull`."
        )
    return DatasetText("\n".join(kept), (*loaded.warnings, *_left_out(len(texts) - len(found), len(found) - len(kept))))


def _left_out(empty: int, damaged: int) -> list[str]:
    return [
        f"left out {plural(count, 'row')} of the dataset {fault}"
        for count, fault in ((empty, "without text"), (damaged, "with NUL characters"))
        if count
    ]


def _text_of(value: object) -> str | None:
    """Return the text of a row, or None if it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
        contents = [turn.get("content") for turn in value]
        return "\n".join(content for content in contents if isinstance(content, str)) or None
    return None


@contextmanager
def loaded_rows(path: str, config: str | None, split: str, key: str) -> Iterator[Loaded]:
    """Yield the rows of a split. They must not be used afterwards.

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
        with _records() as records:
            try:
                rows = _load(path, config, split, scratch)
                rows.data.validate(full=True)  # offsets of a damaged Arrow file may point anywhere in memory
            except Exception as error:
                _refuse_faulty_file(Path(path))
                raise ValueError(_reason(error, records)) from error
        yield Loaded(rows, tuple(dict.fromkeys(map(_warning, records))))


@contextmanager
def _records() -> Iterator[list[logging.LogRecord]]:
    """Collect what `LOGGERS` log in the body, instead of printing it."""
    records: list[logging.LogRecord] = []
    collector = logging.Handler()
    collector.emit = records.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [collector]
    try:
        yield records
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers


def _warning(record: logging.LogRecord) -> str:
    if record.name == README_LOGGER:
        return "README.md has no metadata that can be read; each file counts for the split that its name tells"
    return f"datasets says: {first_line(Exception(record.getMessage()))}"


def _reason(error: Exception, records: Sequence[logging.LogRecord]) -> str:
    """Return the cause of an error of `datasets`, and the file that its log names."""
    import datasets

    if isinstance(error, StopIteration):
        return "a file of it has no rows"
    if isinstance(error, datasets.exceptions.DatasetGenerationError):
        cause = error.__cause__ or error.__context__ or error
    else:
        cause = error
    files = [found[1] for record in records if (found := FAILED_FILE.search(record.getMessage()))]
    return f"{Path(files[-1]).name}: {first_line(cause)}" if files else first_line(cause)


def _refuse_faulty_file(path: Path) -> None:
    """Name the file for which a local dataset cannot be loaded, if it is one that tells: a pointer, empty or not Parquet."""
    import pyarrow.parquet as pq

    for file in [path, *sorted(path.rglob("*"))]:
        if not file.is_file():
            continue
        refuse_pointer(file)
        if file.suffix.lower() in FILE_FORMATS and not file.stat().st_size:
            raise UserError(f"{file}: is empty. Copy it again, or take it out of the dataset.")
        if file.suffix.lower() == ".parquet":
            with foreign_errors(f"{file}: is no Parquet file", "Copy it again."):
                pq.read_metadata(file)


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
        _refuse_cut_stream(local)
        # A single file has no splits: its rows are those of any split that is asked for.
        files = {split.partition("[")[0]: str(local.resolve())}
        return datasets.load_dataset(builder, data_files=files, split=split, cache_dir=scratch, **more)
    if (local / SAVED_SPLITS).is_file() or (local / SAVED).is_file():
        for state in local.rglob(SAVED):
            for named in json.loads(state.read_bytes())["_data_files"]:
                _refuse_cut_stream(state.parent / named["filename"])
        saved = datasets.load_from_disk(path)
        if isinstance(saved, datasets.Dataset):
            return saved
        if split not in saved:
            raise ValueError(f"its splits are {', '.join(map(str, saved))}")
        return saved[split]
    if local.is_dir():
        return datasets.load_dataset(str(local.resolve()), config, split=split, cache_dir=scratch)
    return datasets.load_dataset(path, config, split=split)


def _refuse_cut_stream(file: Path) -> None:
    """Refuse an Arrow stream without its end. Other files pass."""
    with file.open("rb") as opened:
        start = opened.read(len(STREAM_START))
        opened.seek(max(0, file.stat().st_size - len(STREAM_END)))
        if start == STREAM_START and opened.read() != STREAM_END:
            raise UserError(f"{file}: was cut or damaged on its way, because its end is missing. Copy it again.")
