"""MMLU questions (Hendrycks et al., arXiv 2009.03300) from a folder of CSV files or a hub dataset.

A folder holds `test/SUBJECT_test.csv` and, for few-shot prompts, `dev/SUBJECT_dev.csv`. All files may also lie side
by side. Their columns are `COLUMNS`. A dataset (`tasksource/mmlu`) has one configuration per subject, with splits of
the same names. Its columns are question, choices and answer. Texts are not changed. Errors name the place of an
unusable row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from autophage.data.questions import Question, require_subjects
from autophage.data.text_source import read_file
from autophage.errors import UserError, first_line
from autophage.recipe.tables.questions import QuestionsTable

OPTIONS = 4
COLUMNS = ("question", *(f"choice{number}" for number in range(OPTIONS)), "answer")
DATASET_COLUMNS = ("question", "choices", "answer")
NO_SUBJECTS = ("all", "auxiliary_train")
"""Configurations of hub datasets that are not subjects."""

QuestionRecord = tuple[str, str, Sequence[str], object]
"""A question as read: its place for error messages, its text, its options, and the answer as written."""


class QuestionBank(Protocol):
    """A reader of multiple-choice questions, by subject and split."""

    subjects: list[str]
    """Names of all subjects, sorted."""

    def place(self, subject: str, split: str) -> str:
        """Return the file, or the dataset and its split, that holds the questions. It is for error messages."""
        ...

    def rows(self, subject: str, split: str) -> Iterator[QuestionRecord]:
        """Yield the questions of a subject in the split "test" or "dev", in order. A missing split has none."""
        ...


def read_mmlu(table: QuestionsTable) -> list[Question]:
    """Read the first `table.count` test questions of each subject from the folder or dataset `table.path`.

    For few-shot formats, each question also holds `table.shots` answered questions of its subject.

    Raises:
        UserError: A subject, a file or a row is missing or unusable.
    """
    path = table.path or ""
    bank: QuestionBank = _Folder(Path(path)) if Path(path).is_dir() and _files(Path(path), "test") else _Dataset(path)
    subjects = bank.subjects if table.subjects is None else table.subjects
    require_subjects(subjects, bank.subjects)
    shots = table.shots if "few-shot" in table.formats else 0
    return [question for subject in subjects for question in _read_subject(bank, subject, table.count, shots)]


def _read_subject(bank: QuestionBank, subject: str, count: int, shots: int) -> list[Question]:
    shown = tuple(_first(bank, subject, "dev", shots)) if shots else ()
    if len(shown) < shots:
        raise UserError(
            f"questions.shots = {shots}: {bank.place(subject, 'dev')} has {len(shown)} answered questions. "
            "Ask for fewer shots, or leave few-shot out of questions.formats."
        )
    questions = _first(bank, subject, "test", count, shown)
    if not questions:
        raise UserError(f"{bank.place(subject, 'test')}: holds no question.")
    return questions


def _first(
    bank: QuestionBank, subject: str, split: str, count: int, shots: tuple[Question, ...] = ()
) -> list[Question]:
    found: list[Question] = []
    for place, text, options, answer in bank.rows(subject, split):
        if len(found) == count:
            break
        if len(options) != OPTIONS:
            raise UserError(f"{place}: has {len(options)} options instead of {OPTIONS}.")
        for number, option in enumerate(options):
            if not option.strip():
                raise UserError(f"{place}: option {number} is empty. Fill it in, or leave the subject out.")
        first, second, third, fourth = options
        number = len(found)
        name = f"{subject}/{number}" if split == "test" else f"{subject}/{split}/{number}"
        found.append(Question(name, subject, text, (first, second, third, fourth), _place(place, answer), shots))
    return found


def _place(place: str, answer: object) -> int:
    written = str(answer).strip()
    if written not in map(str, range(OPTIONS)):
        raise UserError(f"{place}: the answer is {written!r}. It must be the place of the right option: 0, 1, 2 or 3.")
    return int(written)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {split: _files(folder, split) for split in ("test", "dev")}
        self.subjects = sorted(self._files["test"])

    def place(self, subject: str, split: str) -> str:
        return str(self._files[split].get(subject, self._folder / split / f"{subject}_{split}.csv"))

    def rows(self, subject: str, split: str) -> Iterator[QuestionRecord]:
        path = self._files[split].get(subject)
        if path is None:
            return
        reader = csv.DictReader(io.StringIO(read_file(path), newline=""), strict=True)
        header = list(reader.fieldnames or ())
        if not header:
            raise UserError(f"{path}: is empty. Its first line must name the columns {', '.join(COLUMNS)}.")
        if lacking := [name for name in COLUMNS if name not in header]:
            raise UserError(
                f"{path}: has no column {' and no column '.join(lacking)}. Its columns are: {', '.join(header)}."
            )
        line = reader.line_num + 1
        for row in _records(path, reader):
            place = f"{path}, line {line}"
            line = reader.line_num + 1
            if None in row or None in row.values():
                raise UserError(f"{place}: has more or fewer fields than the {len(header)} columns of the first line.")
            yield place, row["question"], [row[name] for name in COLUMNS[1:-1]], row["answer"]


def _records(path: Path, reader: csv.DictReader[str]) -> Iterator[Mapping[str | None, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not CSV ({error}).") from error


def _files(folder: Path, split: str) -> dict[str, Path]:
    """Return the CSV files of a split by subject.

    Without files in the split's own subfolder, those of `folder` count. The mapping is empty without either.
    """
    ending = f"_{split}.csv"
    found = sorted((folder / split).glob(f"*{ending}")) or sorted(folder.glob(f"*{ending}"))
    return {path.name.removesuffix(ending): path for path in found}


class _Dataset:
    def __init__(self, path: str) -> None:
        import datasets

        datasets.disable_progress_bars()
        self._datasets, self._path = datasets, path
        try:
            names = datasets.get_dataset_config_names(path)
        except (OSError, ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
            raise UserError(
                f"questions.path = {path!r}: is neither a folder with files like test/SUBJECT_test.csv nor a "
                f"loadable dataset ({first_line(error)}). Give a folder, or a hub id that is reachable or cached."
            ) from error
        self.subjects = sorted(name for name in names if name not in NO_SUBJECTS)

    def place(self, subject: str, split: str) -> str:
        return f"{self._path}, {subject}, {split}"

    def rows(self, subject: str, split: str) -> Iterator[QuestionRecord]:
        try:
            found = self._datasets.load_dataset(self._path, subject, split=split)
        except (OSError, ValueError, ConnectionError, self._datasets.exceptions.DatasetsError) as error:
            raise UserError(f"{self.place(subject, split)}: cannot be loaded ({first_line(error)}).") from error
        if lacking := [name for name in DATASET_COLUMNS if name not in found.column_names]:
            there = ", ".join(found.column_names)
            raise UserError(f"{self.place(subject, split)}: has no column {lacking[0]}. Its columns are: {there}.")
        for number, row in enumerate(found):
            yield f"{self.place(subject, split)}, row {number}", row["question"], row["choices"], row["answer"]
