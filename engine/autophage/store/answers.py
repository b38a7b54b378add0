"""`answers.parquet`: how a model answered each question in each format, one row for each.

`logprobs` are of the four options: of a letter its tokens' sum, of a text their mean (the log of the geometric mean), in
nats. What was generated is null where nothing was sampled, and `generated_choice` where the text names no option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from autophage.errors import UNREADABLE, StoreError
from autophage.store.atomic import replacing

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
    ]
)


@dataclass(frozen=True)
class Answer:
    """`gold` and `chosen` are places of options; `metrics.questions` says what the rest means.

    `question` names what is asked, in whatever format: rows of one question are not independent.
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

    @property
    def right(self) -> bool:
        return self.chosen == self.gold


def write_answers(folder: Path, answers: Sequence[Answer]) -> None:
    with replacing(folder / ANSWERS) as temporary:
        table = pa.Table.from_pylist([asdict(answer) for answer in answers], schema=SCHEMA)
        pq.write_table(table, temporary, compression="zstd")


def read_answers(folder: Path) -> pa.Table:
    """The answers of a generation's folder; no rows where it was asked nothing, `StoreError` where they cannot be read."""
    path = folder / ANSWERS
    if not path.is_file():
        return SCHEMA.empty_table()
    try:
        return pq.read_table(path)
    except UNREADABLE as error:
        raise StoreError(f"{path}: holds no answers that can be read ({error})") from error
