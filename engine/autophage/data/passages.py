"""Passages of human text, and prompts about them as token ids.

`PromptMaker` is the interface of `autophage.makers`. This module knows no maker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from autophage.data.tokens import apply_template, decode
from autophage.errors import RunError
from autophage.recipe.tables.maker import MakerTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

Conversation = list[dict[str, str]]
"""Turns with the keys `role` and `content`, as chat templates take them."""


class Passages(Protocol):
    """Human training text of the recipe's domain."""

    def draw(self, seed: int, count: int) -> list[str]:
        """Return `count` passages. None repeats before every passage has been drawn."""
        ...

    def all(self) -> list[str]:
        """Return every passage in the order of the text."""
        ...

    def once(self, make: Callable[[list[str]], T]) -> T:
        """Return `make(self.all())`. The result is cached per `make`."""
        ...


class PromptMaker(Protocol):
    """Writes prompts about passages."""

    settings: MakerTable

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        """Return `count` conversations, each open for the model's turn."""
        ...


class WindowPassages:
    """Windows of a tokenized text as passages."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        windows: Sequence[list[int]],
        draws: Callable[[int, int], list[list[int]]],
    ) -> None:
        """`windows` are the token ids of all windows of a domain. `draws(seed, count)` returns a random selection."""
        self._tokenizer = tokenizer
        self._windows, self._draws = windows, draws
        self._made: dict[Callable[..., Any], Any] = {}

    def draw(self, seed: int, count: int) -> list[str]:
        return [decode(self._tokenizer, window) for window in self._draws(seed, count)]

    def all(self) -> list[str]:
        return [decode(self._tokenizer, window) for window in self._windows]

    def once(self, make: Callable[[list[str]], T]) -> T:
        if make not in self._made:
            self._made[make] = make(self.all())
        return cast(T, self._made[make])

    def prompts(self, maker: PromptMaker, seed: int, count: int) -> list[list[int]]:
        """Return the maker's prompts as token ids of the model's chat template.

        Raises:
            RunError: The maker wrote more or fewer than `count` prompts.
        """
        asked = maker.conversations(self, seed, count)
        if len(asked) != count:
            raise RunError(f"maker.kind = {maker.settings.kind!r} wrote {len(asked)} prompts instead of {count}")
        return [apply_template(self._tokenizer, conversation) for conversation in asked]
