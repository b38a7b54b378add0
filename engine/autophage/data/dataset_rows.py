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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.data.pointers import refuse_pointer
from autophage.data.text_files import refuse_foreign_encoding
from autophage.display import listed
from autophage.errors import UserError, first_line, foreign_errors
from autophage.host.patterns import is_pattern

FILE_FORMATS = {
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow",
}  # fmt: skip
"""Builders of `datasets` by the suffix of a single file."""
TEXT_FORMATS = ("csv", "json")
"""Builders that read text in UTF-8."""
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


@contextmanager
def loaded_rows(path: str, config: str | None, split: str, key: str, texts: Sequence[str] = ()) -> Iterator[Loaded]:
    """Yield the rows of a split. They must not be used afterwards.

    Args:
        key: Recipe key of `path`, for messages.
        texts: Columns whose cells in a CSV file are text, even if they look like numbers.

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
                rows = _load(path, config, split, Path(scratch), dict.fromkeys(texts, str))
                rows.data.validate(full=True)  # offsets of a damaged Arrow file may point anywhere in memory
            except UserError:
                raise
            except Exception as error:
                _refuse_faulty_file(Path(path))
                raise ValueError(_reason(error, records)) from error
        yield Loaded(rows, tuple(dict.fromkeys(map(_warning, records))))


class _Collector(logging.Handler):
    """Handler that keeps the records it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _records() -> Iterator[list[logging.LogRecord]]:
    """Collect what `LOGGERS` log in the body, instead of printing it."""
    collector = _Collector()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [collector]
    try:
        yield collector.records
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
    """Name the file for which a local dataset cannot be loaded, if one tells: a pointer, empty, not Parquet, or not UTF-8."""
    import pyarrow.parquet as pq

    for file in [path, *sorted(path.rglob("*"))]:
        if not file.is_file():
            continue
        refuse_pointer(file)
        builder = FILE_FORMATS.get(file.suffix.lower())
        if builder and not file.stat().st_size:
            raise UserError(f"{file}: is empty. Copy it again, or take it out of the dataset.")
        if builder == "parquet":
            with foreign_errors(f"{file}: is no Parquet file", "Copy it again."):
                pq.read_metadata(file)
        if builder in TEXT_FORMATS:
            refuse_foreign_encoding(file)


def _load(path: str, config: str | None, split: str, scratch: Path, converters: dict[str, Any]) -> Any:
    import datasets

    local = Path(path)
    cache = str(scratch / "cache")
    if local.is_file():
        builder = FILE_FORMATS.get(local.suffix.lower())
        if builder is None:
            raise UserError(
                f"{path}: is no dataset file; their suffixes are {listed(sorted(FILE_FORMATS))}. "
                'Read plain text with source.kind = "text".'
            )
        more: dict[str, Any] = {"converters": converters} if builder == "csv" else {}
        if local.suffix.lower() == ".tsv":
            more["delimiter"] = "\t"
        _refuse_cut_stream(local)
        # A single file has no splits: its rows are those of any split that is asked for.
        files = dict.fromkeys(_names(split), str(_linked(local, scratch)))
        return datasets.load_dataset(builder, data_files=files, split=split, cache_dir=cache, **more)
    if (local / SAVED_SPLITS).is_file() or (local / SAVED).is_file():
        return _saved(local, split)
    if local.is_dir():
        formats = {FILE_FORMATS.get(file.suffix.lower()) for file in local.rglob("*")} - {None}
        more = {"converters": converters} if formats == {"csv"} else {}
        return datasets.load_dataset(str(_linked(local, scratch)), config, split=split, cache_dir=cache, **more)
    return datasets.load_dataset(path, config, split=split)


def _names(split: str) -> list[str]:
    """Return the names of the splits in an expression such as `train[:80%]+test`."""
    return [part.partition("[")[0].strip() for part in split.split("+")]


def _linked(local: Path, scratch: Path) -> Path:
    """Return the resolved path of a file or folder; if `datasets` takes it for a pattern, that of links to its files."""
    local = local.resolve()
    if not is_pattern(str(local)):
        return local
    if local.is_file():
        link = scratch / f"data{local.suffix}"
        link.symlink_to(local)
        return link
    for file in local.rglob("*"):
        if file.is_file():
            link = scratch / "data" / file.relative_to(local)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return scratch / "data"


def _saved(folder: Path, split: str) -> Any:
    """Return the rows of a split, or of parts of splits, that `save_to_disk` wrote. A dataset without splits has any."""
    import datasets

    for state in folder.rglob(SAVED):
        for named in json.loads(state.read_bytes())["_data_files"]:
            _refuse_cut_stream(state.parent / named["filename"])
    saved = datasets.load_from_disk(str(folder))
    names = _names(split)
    splits = dict.fromkeys(names, saved) if isinstance(saved, datasets.Dataset) else dict(saved)
    if not splits.keys() >= set(names):
        raise ValueError(f"its splits are {', '.join(map(str, splits))}")
    if split in splits:
        return splits[split]
    parts = datasets.ReadInstruction.from_spec(split).to_absolute({name: len(rows) for name, rows in splits.items()})
    return datasets.concatenate_datasets([splits[one.splitname].select(range(one.from_, one.to)) for one in parts])


def _refuse_cut_stream(file: Path) -> None:
    """Refuse an Arrow stream without its end. Other files pass."""
    with file.open("rb") as opened:
        start = opened.read(len(STREAM_START))
        opened.seek(max(0, file.stat().st_size - len(STREAM_END)))
        if start == STREAM_START and opened.read() != STREAM_END:
            raise UserError(f"{file}: was cut or damaged on its way, because its end is missing. Copy it again.")
