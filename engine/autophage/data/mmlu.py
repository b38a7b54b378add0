"""MMLU questions (Hendrycks et al., arXiv 2009.03300) from a folder of CSV files or a hub dataset.

A folder holds `test/SUBJECT_test.csv` and, for few-shot prompts, `dev/SUBJECT_dev.csv`. All files may also lie side
by side. Their columns are `COLUMNS`. The first line names them, or is a question as in the files of the paper. The
answer is the place or the letter of the right option. A dataset (`tasksource/mmlu`) has one configuration per
subject, with splits of the same names. Its columns are question, choices and answer. Texts are not changed. Errors
name the place of an unusable row.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from autophage.data.dataset_rows import loaded_rows
from autophage.data.questions import LETTERS, Question, require_subjects
from autophage.data.text_files import is_hidden, read_file
from autophage.errors import UserError, foreign_errors
from autophage.recipe.tables.questions import QuestionsTable

OPTIONS = 4
COLUMNS = ("question", *(f"choice{number}" for number in range(OPTIONS)), "answer")
PLACES = {name: place for names in ("0123", LETTERS) for place, name in enumerate(names)}
"""Places of options by how an answer names them."""
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
    written = str(answer).strip().upper()
    if written not in PLACES:
        raise UserError(
            f"{place}: the answer is {answer!r}. It must be the place of the right option, 0, 1, 2 or 3, or its letter, A, "
            "B, C or D."
        )
    return PLACES[written]


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
        records = _records(path)
        first = next(records, None)
        if first is None:
            raise UserError(f"{path}: is empty. It needs questions with the columns {', '.join(COLUMNS)}.")
        header = list(COLUMNS)
        if _is_question(first[1]):
            records = itertools.chain([first], records)
        else:
            header = first[1]
        if lacking := [name for name in COLUMNS if name not in header]:
            raise UserError(
                f"{path}: has no column {' and no column '.join(lacking)}. Its columns are: {', '.join(header)}."
            )
        for line, fields in records:
            place = f"{path}, line {line}"
            if len(fields) != len(header):
                raise UserError(f"{place}: has {len(fields)} fields instead of {len(header)}.")
            row = dict(zip(header, fields, strict=True))
            yield place, row["question"], [row[name] for name in COLUMNS[1:-1]], row["answer"]


def _is_question(fields: Sequence[str]) -> bool:
    """Return True if the first line of a file is a question and not the names of its columns."""
    return len(fields) == len(COLUMNS) and COLUMNS[-1] not in fields


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV file with the numbers of their first lines. Empty lines are left out."""
    reader = csv.reader(io.StringIO(read_file(path), newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not CSV ({error}).") from error


def _files(folder: Path, split: str) -> dict[str, Path]:
    """Return the CSV files of a split by subject.

    Without files in the split's own subfolder, those of `folder` count. The mapping is empty without either.
    """
    ending = f"_{split}.csv"
    for place in (folder / split, folder):
        files = sorted(place.iterdir()) if place.is_dir() else []
        found = [path for path in files if path.name.lower().endswith(ending) and not is_hidden(path)]
        if found:
            return {path.name[: -len(ending)]: path for path in found}
    return {}


class _Dataset:
    def __init__(self, path: str) -> None:
        import datasets

        datasets.disable_progress_bars()
        self._path = path
        with foreign_errors(
            f"questions.path = {path!r}: is neither a folder with files like test/SUBJECT_test.csv nor a loadable dataset",
            "Give a folder, or a hub id that is reachable or cached.",
        ):
            names = datasets.get_dataset_config_names(path)
        self.subjects = sorted(name for name in names if name not in NO_SUBJECTS)

    def place(self, subject: str, split: str) -> str:
        return f"{self._path}, {subject}, {split}"

    def rows(self, subject: str, split: str) -> Iterator[QuestionRecord]:
        with loaded_rows(self._path, subject, split, "questions.path") as loaded:
            found = loaded.rows
            if lacking := [name for name in DATASET_COLUMNS if name not in found.column_names]:
                there = ", ".join(found.column_names)
                raise UserError(f"{self.place(subject, split)}: has no column {lacking[0]}. Its columns are: {there}.")
            for number, row in enumerate(found):
                place = f"{self.place(subject, split)}, row {number}"
                yield place, _words(place, "question", row["question"]), _options(place, row["choices"]), row["answer"]


def _options(place: str, options: object) -> list[str]:
    if not isinstance(options, list):
        raise UserError(f"{place}: its choices are {options!r} instead of a list of {OPTIONS}.")
    return [_words(place, f"option {number}", option) for number, option in enumerate(options)]


def _words(place: str, name: str, value: object) -> str:
    """Return a text, or a number as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place}: {name} is {value!r} instead of a text.")
    return str(value)
