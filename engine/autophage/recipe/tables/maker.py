"""`[maker]`: what writes prompts for data from human passages, in place of `sample.prompts`.

Owns the table, whose `kind` is a name of the entry-point group `autophage.makers`, of a built-in maker or a plug-in. What stands
behind it is imported by `autophage.makers`, when a model is asked.
"""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from autophage.recipe.offered import offered
from autophage.recipe.tables.table import Positive, Table

GROUP = "autophage.makers"
NONE = "none"
PLACE = "passage"


def require_place(template: str) -> str:
    """`template`, which has the place {passage} and no other one; `ValueError` if it has not."""
    try:
        places = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"is no template ({error}); a brace that is meant is written twice: {{{{ or }}}}") from None
    if others := sorted(places - {PLACE}):
        raise ValueError(f"has the place {{{others[0]}}}, and there is {{{PLACE}}} alone")
    if not places:
        raise ValueError(f"has no place {{{PLACE}}}, so that every prompt would be the same")
    return template


class MakerTable(Table):
    kind: str = Field(
        NONE,
        min_length=1,
        description="none; domain: your own prompts about passages; self-edit: passages restructured into training data (arXiv "
        "2506.10943); entities: questions about pairs of what a text names (arXiv 2605.19394); reasoning: gaps to be filled "
        "step by step (arXiv 2507.23751); or what a package offers",
    )
    templates: list[Annotated[str, AfterValidator(require_place)]] = Field(
        ["Write a new text on the subject of this passage, for a reader who knows the field.\n\n{passage}"],
        min_length=1,
        description="domain: prompts with the place {passage}, one of which each sample has",
    )
    system: str = Field("", description="domain, self-edit: the system message; empty: none")
    formats: list[Literal["implications", "rewrite", "self-qa"]] = Field(
        ["implications", "rewrite", "self-qa"],
        min_length=1,
        description="self-edit: what a passage is restructured into",
    )
    edits: Positive = Field(5, description="self-edit: edits of a passage")
    pairs: list[Literal["near", "within", "across"]] = Field(
        ["near", "within", "across"],
        min_length=1,
        description="entities: pairs are nearest neighbours, of one cluster, of different ones",
    )
    clusters: int = Field(8, ge=2, le=1000, description="entities: clusters, or as many as there are entities")
    occurrences: Positive = Field(2, description="entities: sentences that must name one")
    entities: int = Field(500, ge=3, le=20_000, description="entities: how many, the most frequent ones")

    answers: Positive = Field(8, description="reasoning: answers to a question")

    @field_validator("templates", "formats", "pairs")
    @classmethod
    def _once_each(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("names one twice")
        return values


KEYS_OF = {
    "domain": ("templates", "system"),
    "self-edit": ("formats", "edits", "system"),
    "entities": ("pairs", "clusters", "occurrences", "entities"),
    "reasoning": ("answers",),
}
"""Built-in kind -> the keys of the table that it has a use for; a plug-in may use any."""


def installed_makers() -> list[str]:
    return list(offered(GROUP))
