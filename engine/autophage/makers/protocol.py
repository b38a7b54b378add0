"""What a maker is, what it is given, and what it answers.

A maker is a class with one method. What it answers is a function of the recipe's `[maker]` table, the passages and the seed,
so that a resumed run asks for what an uninterrupted one does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from autophage.data.passages import Conversation, Passages
from autophage.errors import UserError
from autophage.recipe.offered import OfferError, find_offer, load_offer, origin
from autophage.recipe.tables.maker import GROUP, MakerTable


class Maker(ABC):
    """One class, one file. `settings` is the recipe's table."""

    def __init__(self, settings: MakerTable) -> None:
        self.settings = settings

    @abstractmethod
    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        """`count` conversations, each open for the model's turn."""


def ask(text: str, system: str = "") -> Conversation:
    """A user turn, behind a system turn where there is something to say in it."""
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, {"role": "user", "content": text}]


def make_maker(settings: MakerTable) -> Maker:
    """The maker of a recipe.

    Raises:
        UserError: there is none of that kind, or what a package offers is none.
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
