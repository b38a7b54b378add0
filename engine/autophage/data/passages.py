"""Windows of a text as passages that makers of data read, and what makers ask as token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from autophage.data.tokens import apply_template, decode
from autophage.errors import RunError
from autophage.makers import Maker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


class WindowPassages:
    """`draws(seed, count)` are windows of a domain, `windows` all of them; both are token ids."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        windows: Sequence[list[int]],
        draws: Callable[[int, int], list[list[int]]],
    ) -> None:
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

    def prompts(self, maker: Maker, seed: int, count: int) -> list[list[int]]:
        """What `maker` asks, through the model's chat template.

        Raises:
            RunError: it asks for more or less than `count`.
        """
        asked = maker.conversations(self, seed, count)
        if len(asked) != count:
            raise RunError(
                f"maker.kind = {maker.settings.kind!r} wrote {len(asked)} prompts, and {count} were asked for"
            )
        return [apply_template(self._tokenizer, conversation) for conversation in asked]
