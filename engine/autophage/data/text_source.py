"""A text as a source: a file, a folder of files, or a Hugging Face dataset.

The text is tokenized once and cut into windows of `block + continuation` tokens. A model is given the block and
continues it. The human continuation of the same block is the human item. The last windows are held out. A domain is
the set of windows that contain one of its keywords. Measurements use the whole text in every domain.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autophage.data.chat_template import ChatTemplate
from autophage.data.dataset_files import DatasetText, read_column
from autophage.data.dataset_rows import FILE_FORMATS
from autophage.data.passages import PromptMaker, WindowPassages
from autophage.data.rare import rare_windows, thinned
from autophage.data.source import HeldOut, Item, Probe, Role, spread
from autophage.data.text_files import SUFFIXES, read_file, text_files
from autophage.data.tokens import decode, start_ids
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import ALL
from autophage.recipe.tables.sample import MADE
from autophage.recipe.tables.source import SourceTable
from autophage.seeds import generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Text:
    """Human text in two parts: one for training, and one that is held out for measurement."""

    train: str
    held_out: str
    notes: tuple[str, ...] = ()
    """Messages for the user about what was read and what was left out."""


class TextSource:
    """A text as a source of human documents, which are windows of its token ids.

    A window is a block followed by its human continuation. A prompt of the style `blocks` is the block. `instruct`
    wraps the block in the model's chat template. `annotated` gives the first tokens of the continuation instead.
    `made` prompts are written by the maker.

    Raises:
        UserError: A part of the text is shorter than one window, or no window contains a keyword of the domain.
    """

    def __init__(
        self,
        text: Text,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        prompts: str,
        maker: PromptMaker | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._block, self._continuation = recipe.source.block, recipe.source.continuation
        self._windows = self._cut(text.train)
        self._held_out = self._cut(text.held_out)
        if not self._windows or not self._held_out:
            need = self._block + self._continuation
            raise UserError(
                f"source.path = {recipe.source.path!r}: too short. Training part and held-out part each need one window of "
                f"{need} tokens (block {self._block} + continuation {self._continuation}); they have {len(self._windows)} and "
                f"{len(self._held_out)} windows. Give more text, or smaller source.block and source.continuation."
            )
        self._ask(recipe, prompts, maker)

    def asked_by(self, recipe: Recipe, prompts: str, maker: PromptMaker | None = None) -> TextSource:
        """Return a source of the same tokenized text with the prompts and the domain of another recipe.

        `prompts` is the resolved style. `maker` belongs to the style `made` and to no other.
        """
        other = copy.copy(self)
        other._ask(recipe, prompts, maker)
        return other

    def _ask(self, recipe: Recipe, prompts: str, maker: PromptMaker | None) -> None:
        if (maker is None) == (prompts == MADE):
            raise ValueError(
                f"a maker and the style {MADE!r} need each other: the style is {prompts!r}, the maker {maker!r}"
            )
        self._template = ChatTemplate(self.tokenizer, recipe.model)
        self._style, self._system = prompts, recipe.sample.system
        self._begun = self._block + (recipe.sample.annotation if prompts == "annotated" else 0)
        self._own = self._windows if recipe.mix.domain == ALL else self._about(recipe.mix.domain)
        self._maker = maker
        self._passages = WindowPassages(self.tokenizer, self._template, self._own, self._draw)
        self.__dict__.pop("_rare", None)

    @cached_property
    def _rare(self) -> frozenset[int]:
        return rare_windows(self._own)

    @cached_property
    def start_ids(self) -> list[int]:
        return start_ids(self.tokenizer)

    def items(self, draw: int, count: int, rare: float = 1.0) -> list[Item]:
        """Return `count` windows as prompt and human continuation, drawn with the seed `draw`.

        Rare windows come `rare` times as often. They are the quarter of the domain's windows with the most rare
        tokens.
        """
        drawn = self._drawn(draw)
        if rare > 1.0:
            drawn = thinned(drawn, self._rare.__contains__, rare, draw)
        windows = (self._own[place] for place in itertools.islice(drawn, count))
        return [Item(self._prompt(window), window[self._begun :]) for window in windows]

    def prompts(self, draw: int, count: int) -> list[list[int]]:
        if self._maker is not None:
            return self._passages.prompts(self._maker, draw, count)
        return [self._prompt(window) for window in self._draw(draw, count)]

    def _draw(self, draw: int, count: int) -> list[list[int]]:
        return [self._own[place] for place in itertools.islice(self._drawn(draw), count)]

    def held_out(self) -> list[HeldOut]:
        return [
            HeldOut(self.start_ids + window, [Role.TEXT] * (len(self.start_ids) + len(window)), len(self.start_ids))
            for window in self._held_out
        ]

    def reference(self, count: int) -> list[list[int]]:
        return [list(window) for window in spread(self._windows, count)]

    def probes(self, formats: list[str], people: int | None) -> list[Probe]:
        return []

    def _drawn(self, draw: int) -> Iterator[int]:
        """Yield random indices in the list of the domain's windows, without end.

        All windows are drawn once before each new shuffle.
        """
        for rounds in itertools.count():
            order = list(range(len(self._own)))
            generator(draw, "windows", rounds).shuffle(order)
            yield from order

    def _about(self, domain: str) -> list[list[int]]:
        """Return the training windows that contain a keyword of `domain` as a whole word in any case.

        Raises:
            UserError: No window contains one, or there is no keyword.
        """
        words = [re.escape(word) for word in re.split(r"[,\s]+", domain) if word]
        keyword = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
        found = [window for window in self._windows if keyword.search(decode(self.tokenizer, window))]
        if not words or not found:
            raise UserError(
                f"mix.domain = {domain!r}: none of the {len(self._windows)} windows of the text has one of these words. "
                f'Give other keywords, or "{ALL}".'
            )
        return found

    def _prompt(self, window: list[int]) -> list[int]:
        block = window[: self._block]
        if self._style in ("bos", MADE):
            return list(self.start_ids)
        if self._style == "blocks":
            return self.start_ids + block
        if self._style == "annotated":
            return self.start_ids + window[self._block : self._begun]
        messages = [{"role": "user", "content": decode(self.tokenizer, block)}]
        if self._system:
            messages.insert(0, {"role": "system", "content": self._system})
        return self._template.ids(messages)

    def _cut(self, text: str) -> list[list[int]]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        width = self._block + self._continuation
        return [ids[start : start + width] for start in range(0, len(ids) - width + 1, width)]


def read_text(table: SourceTable) -> Text:
    """Read the text of a file, a folder or a dataset, and split off the held-out part.

    The held-out part is the end of the text, or the dataset's test split if the table names one.

    Raises:
        UserError: The text is missing or empty, or its bytes are not text.
    """
    if table.kind == "dataset" and table.test_split is not None:
        train, held_out = (_read_dataset(table, split) for split in (table.split, table.test_split))
        if train.text == held_out.text:
            raise UserError(
                f"source.test_split = {table.test_split!r}: has the rows of source.split = {table.split!r}, so nothing would be "
                'held out. Leave test_split out, or give two parts: split = "train[:90%]" and test_split = "train[90%:]".'
            )
        return Text(train.text, held_out.text, _said([*train.notes, *held_out.notes]))
    if table.kind == "dataset":
        read = _read_dataset(table, table.split)
        content, notes = read.text, _said(read.notes)
    else:
        content, notes = _read_path(Path(table.path or ""))
    if not content.strip():
        raise UserError(f"source.path = {table.path!r}: holds no text. Give a file or folder with some.")
    cut = round(len(content) * (1.0 - table.held_out))
    return Text(content[:cut], content[cut:], notes)


def _read_dataset(table: SourceTable, split: str) -> DatasetText:
    return read_column(table.path or "", table.config, split, table.column)


def _read_path(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file or a folder, and messages for the user."""
    if path.is_dir():
        files = text_files(path)
        if not files.read:
            raise UserError(f"source.path = '{path}': the folder holds no {', '.join(SUFFIXES)} file.")
        return "\n\n".join(read_file(file) for file in files.read), _said([files.note])
    if not path.is_file():
        raise UserError(f"source.path = '{path}': there is no such file or folder.")
    if path.suffix.lower() in FILE_FORMATS:
        raise UserError(
            f"source.path = '{path}': is a dataset file. Read it with source.kind = \"dataset\", "
            "or give it the suffix .txt if its characters are the text."
        )
    return read_file(path), ()


def _said(notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"source.path: {note}" for note in dict.fromkeys(notes) if note)
