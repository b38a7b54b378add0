"""`answers.parquet`: one row per question and format, with the model's answer.

`logprobs` has a value in nats for each of the four options. A letter has the sum over its tokens. A text has their
mean, the log of the geometric mean. The columns `generated*` are null if nothing was sampled; `generated_choice` is
null if the text names no option. `bucket` is null if the questions have no frequency classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.errors import UNREADABLE, StoreError
from autophage.store.atomic import local, replacing

ANSWERS = "answers.parquet"

SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("subject", pa.string()),
        ("format", pa.string()),
        ("gold", pa.int8()),
        ("chosen", pa.int8()),
        ("logprobs", pa.list_(pa.float64())),
        ("greedy", pa.bool_()),
        ("complies", pa.bool_()),
        ("confidence", pa.float64()),
        ("generated", pa.string()),
        ("generated_choice", pa.int8()),
        ("generated_complies", pa.bool_()),
        ("entailment", pa.float64()),
        ("bucket", pa.string()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """A model's answer to one question in one format. `metrics.questions` defines the fields.

    `gold` and `chosen` are indices of options. `logprobs` has a value in nats per option. `question` is the same in
    every format, so rows that share it are not independent.
    """

    question: str
    subject: str
    format: str
    gold: int
    chosen: int
    logprobs: tuple[float, ...]
    greedy: bool
    complies: bool
    confidence: float
    generated: str | None = None
    generated_choice: int | None = None
    generated_complies: bool | None = None
    entailment: float | None = None
    bucket: str | None = None

    @property
    def right(self) -> bool:
        return self.chosen == self.gold


def write_answers(folder: Path, answers: Sequence[Answer]) -> None:
    with replacing(folder / ANSWERS) as temporary:
        table = pa.Table.from_pylist([asdict(answer) for answer in answers], schema=SCHEMA)
        pq.write_table(table, temporary, compression="zstd")


def answers_in(folder: Path) -> list[Answer]:
    """Read the answers in a generation's folder, in order. A column that an earlier version did not write is null.

    Raises:
        StoreError: The file cannot be read.
    """
    return [Answer(**{**row, "logprobs": tuple(row["logprobs"])}) for row in read_answers(folder).to_pylist()]


def read_answers(folder: Path) -> pa.Table:
    """Read the answers in a generation's folder as a table.

    It has no rows if the recipe has no questions.

    Raises:
        StoreError: The file cannot be read.
    """
    path = folder / ANSWERS
    if not path.is_file():
        return SCHEMA.empty_table()
    try:
        return pq.read_table(local(path))
    except UNREADABLE as error:
        raise StoreError(f"{path}: holds no answers that can be read ({error})") from error
