"""`[[gate]]`: a judge of samples before training. A gate is a class that an installed package offers.

`kind` leads to the class by the entry points of the group `autophage.gates`, for built-in gates and plug-ins alike. The module
of a gate is imported only when a recipe names it. `autophage.gates` defines the judgement.
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
    """The settings of one gate."""

    kind: str = Field(description="Kind of gate: the name under which a package offers it.")
    paths: ClassVar[tuple[str, ...]] = ()
    """Names of settings whose value may be a file or a folder. Such a path is relative to the recipe."""

    @property
    def passes(self) -> int:
        """Number of forward passes over each sample."""
        return 0

    @property
    def gradient_steps(self) -> int:
        """Number of gradient steps that the writing model takes on each sample."""
        return 0

    @property
    def human_passes(self) -> int:
        """Number of human documents that a model reads for each sample, and once before all samples."""
        return 0

    def unfit(self, settings: Settings) -> tuple[str, ...]:
        """Return the reason why this gate cannot judge an arm with `settings`, then the remedies.

        Empty if the gate can judge it. No file is read.
        """
        return ()

    def require(self) -> None:
        """Check that the named files and models exist, before a run begins. Loads no weights.

        Raises:
            UserError: a file or model is missing or of another kind.
        """


def installed_gates() -> list[str]:
    return list(offered(GROUP))


def gate_class(kind: str) -> type[GateTable]:
    """Import and return the class of a kind of gate.

    Raises:
        OfferError: no package offers the kind, several do, the import fails, or the object is not a gate.
    """
    point = find_offer(GROUP, kind, "gate")
    found = load_offer(point)
    if not (isinstance(found, type) and issubclass(found, GateTable)):
        raise OfferError(f"{origin(point)} is not a gate: a gate is a subclass of autophage.gates.Gate")
    return found


def _resolve(value: object) -> object:
    """Return a dictionary as the validated settings of its kind of gate. Other values pass unchanged.

    Recipes that are read from JSON, or made of another recipe's values, hold dictionaries.
    """
    if isinstance(value, Mapping):
        return gate_class(str(value.get("kind"))).model_validate(dict(value))
    return value


AnyGate = Annotated[SerializeAsAny[GateTable], BeforeValidator(_resolve)]
"""A gate of any kind, serialised with the settings of its kind."""
