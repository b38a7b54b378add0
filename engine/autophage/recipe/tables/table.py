"""What every table of a recipe is made of: the strict base class, and the types that several tables share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from autophage.host.naming import require_nameable

LARGEST = 10**12
"""What nothing that is counted here exceeds: larger numbers are slips, and no float holds the largest of them."""
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every random generator in use takes: NumPy's older one stops at 32 bits."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

PathText = Annotated[str, Field(min_length=1), AfterValidator(require_nameable)]


class Table(BaseModel):
    """Strict, frozen, closed: a key that is not declared here is an error, and 3 is not a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
