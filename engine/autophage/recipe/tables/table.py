"""The strict base class of every table of a recipe, and the types that tables share."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from autophage.host.naming import require_nameable

LARGEST = 10**12
"""Upper bound of every count. A larger number is a slip, and a float cannot hold the largest integers."""
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Range that every random generator accepts: NumPy's legacy generator takes 32 bits."""
AUTO: Final = "auto"
"""Value of a key that is chosen for the machine before a run starts (`plan.choices`)."""


def _word_or_number(value: object) -> str:
    return WORD if isinstance(value, str) else NUMBER


WORD, NUMBER = "word", "number"
"""Tags of the two kinds of value in `AutoOrCount` and the like. Only the errors of one kind are reported."""
AutoOrSequences = Annotated[
    Annotated[int, Field(ge=1, le=4096), Tag(NUMBER)] | Annotated[Literal["auto"], Tag(WORD)],
    Discriminator(_word_or_number),
]
AutoOrCount = Annotated[
    Annotated[Positive, Tag(NUMBER)] | Annotated[Literal["auto"], Tag(WORD)], Discriminator(_word_or_number)
]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(require_nameable)]

Names = TypeVar("Names", bound=list[str] | None)


def require_distinct(names: Names) -> Names:
    """Return `names` unchanged, if no name occurs twice. None passes.

    Raises:
        ValueError: A name occurs twice.
    """
    if names is not None and len(set(names)) != len(names):
        raise ValueError("an entry occurs twice")
    return names


class Table(BaseModel):
    """A strict, frozen, closed table: an undeclared key is an error, and 3 is not a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
