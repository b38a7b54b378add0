"""Passages of human text, and prompts about them as token ids.

`PromptMaker` is the interface of `autophage.makers`. This module knows no maker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from autophage.data.chat_template import ChatTemplate
from autophage.data.tokens import decode
from autophage.errors import RunError
from autophage.recipe.tables.maker import MakerTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

Conversation = list[dict[str, str]]
"""Turns of a chat, each with the keys `role` and `content`, as chat templates take them."""


class Passages(Protocol):
    """Human training text of the recipe's domain, as passages about which a maker writes prompts."""

    def draw(self, seed: int, count: int) -> list[str]:
        """Return the texts of `count` random passages. Each is drawn once before any repeats."""
        ...

    def all(self) -> list[str]:
        """Return the text of every passage, in the order of the source."""
        ...

    def once(self, make: Callable[[list[str]], T]) -> T:
        """Return `make(passages)`, computed once from the texts of all passages. The cache's key is `make` itself."""
        ...


class PromptMaker(Protocol):
    """A maker as the sources of data see it: it writes prompts about human passages."""

    settings: MakerTable

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        """Return `count` prompts about `passages`, as conversations that are open for the model's turn."""
        ...


class WindowPassages:
    """Passages that are windows of a tokenized text. They are decoded when asked for."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        windows: Sequence[list[int]],
        draws: Callable[[int, int], list[list[int]]],
    ) -> None:
        """Wrap `windows`, the token ids of all windows of a domain.

        `draws(seed, count)` returns a random selection of windows.
        """
        self._tokenizer, self._template = tokenizer, template
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
        """Return `count` prompts that `maker` writes about these passages, as token ids of the model's chat template.

        Raises:
            RunError: The maker wrote more or fewer than `count` prompts.
        """
        asked = maker.conversations(self, seed, count)
        if len(asked) != count:
            raise RunError(f"maker.kind = {maker.settings.kind!r} wrote {len(asked)} prompts instead of {count}")
        return [self._template.ids(conversation) for conversation in asked]
