"""Interface of a maker.

A maker is a class with one method. Its result is a function of the recipe's `[maker]` table, the passages and the
seed. A resumed run therefore asks the same prompts as an uninterrupted one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from autophage.data.passages import Conversation, Passages
from autophage.errors import UserError
from autophage.recipe.offered import OfferError, find_offer, load_offer, origin
from autophage.recipe.tables.maker import GROUP, MakerTable


class Maker(ABC):
    """Base class of makers, which write prompts from human passages. `settings` is the recipe's `[maker]` table."""

    def __init__(self, settings: MakerTable) -> None:
        self.settings = settings

    @abstractmethod
    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        """Return `count` prompts about `passages`, as conversations that are open for the model's turn.

        The result is a function of settings, passages and `seed`.
        """


def ask(text: str, system: str = "") -> Conversation:
    """Return a conversation with `text` as the user's turn. A system turn precedes it unless `system` is empty."""
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, {"role": "user", "content": text}]


def make_maker(settings: MakerTable) -> Maker:
    """Return the installed maker that `settings.kind` names, built from a recipe's `[maker]` table.

    Raises:
        UserError: No maker of that kind is installed, or the installed object is not a maker.
    """
    try:
        point = find_offer(GROUP, settings.kind, "maker")
        found = load_offer(point)
    except OfferError as error:
        raise UserError(f"maker.kind = {settings.kind!r}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Maker)):
        raise UserError(
            f"maker.kind = {settings.kind!r}: {origin(point)} is no maker: a maker is a class derived from "
            "autophage.makers.Maker."
        )
    return found(settings)
