"""`[[gate]]`: what judges samples before they are trained on. A gate is a class that an installed package offers.

Owns how a `kind` leads to its class: by the entry points of the group `autophage.gates`, built-in gates and plug-ins alike.
It imports a gate's module only when a recipe asks for it, and does not know how a gate judges (`autophage.gates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny

from autophage.recipe.offered import OfferError, find_offer, load_offer, offered, origin
from autophage.recipe.settings import Settings
from autophage.recipe.tables.table import Table

GATE = "gate"
GROUP = "autophage.gates"


class GateTable(Table):
    """The settings of one gate, which are what a recipe says of it."""

    kind: str = Field(description="which gate: the name that a package offers it by")
    paths: ClassVar[tuple[str, ...]] = ()
    """Settings that may name a file or a folder; such a path is relative to the recipe."""

    @property
    def passes(self) -> int:
        """How often a model reads each sample in order to judge it."""
        return 0

    @property
    def gradient_steps(self) -> int:
        """How many steps of gradient descent the writer takes on each sample in order to judge it."""
        return 0

    @property
    def human_passes(self) -> int:
        """How many human documents a model reads for each sample, and once before them all."""
        return 0

    def unfit(self, settings: Settings) -> tuple[str, ...]:
        """Why this gate cannot judge what an arm with `settings` writes, then the remedies; empty where it can.

        Reads no file.
        """
        return ()

    def require(self) -> None:
        """Look for the files and models that are named, before a run begins; loads no weights.

        Raises:
            UserError: one is not there, or is of another kind.
        """


def installed_gates() -> list[str]:
    return list(offered(GROUP))


def gate_class(kind: str) -> type[GateTable]:
    """The class behind a `kind`.

    Raises:
        OfferError: no package offers it, several do, it cannot be imported, or it is no gate.
    """
    point = find_offer(GROUP, kind, "gate")
    found = load_offer(point)
    if not (isinstance(found, type) and issubclass(found, GateTable)):
        raise OfferError(f"{origin(point)} is no gate: a gate is a class derived from autophage.gates.Gate")
    return found


def _resolve(value: object) -> object:
    """A table as the settings of its kind, where a recipe comes back from JSON or from another recipe's values."""
    if isinstance(value, Mapping):
        return gate_class(str(value.get("kind"))).model_validate(dict(value))
    return value


AnyGate = Annotated[SerializeAsAny[GateTable], BeforeValidator(_resolve)]
"""A gate of any kind, written out with the settings of its own kind."""
