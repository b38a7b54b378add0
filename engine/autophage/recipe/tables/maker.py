"""`[maker]`: prompts made from human passages, in place of `sample.prompts`.

`kind` is a name of the entry-point group `autophage.makers`: a built-in maker or a plug-in. `autophage.makers` imports the
maker's module when a model is asked.
"""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from autophage.recipe.offered import offered
from autophage.recipe.tables.table import Positive, Table, require_distinct

GROUP = "autophage.makers"
NONE = "none"
PASSAGE = "passage"
KEYS_OF = {
    "domain": ("templates", "system"),
    "self-edit": ("formats", "edits", "system"),
    "entities": ("pairs", "clusters", "occurrences", "entities"),
    "reasoning": ("answers",),
}
"""Built-in kind of maker to the keys of the table that it uses. A plug-in may use any key."""


def require_passage(template: str) -> str:
    """Return `template` unchanged, if its fields are one or more {passage}.

    Raises:
        ValueError: The template has another field, or none.
    """
    try:
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"not a template ({error}); write a literal brace twice: {{{{ or }}}}") from None
    if others := sorted(fields - {PASSAGE}):
        raise ValueError(f"has the field {{{others[0]}}}; the only field is {{{PASSAGE}}}")
    if not fields:
        raise ValueError(f"has no field {{{PASSAGE}}}, so that every prompt would be the same")
    return template


class MakerTable(Table):
    """Prompts made from human passages, in place of `sample.prompts`."""

    kind: str = Field(
        NONE,
        min_length=1,
        description="Kind of maker. none: no maker. domain: prompts of your own about passages. self-edit: passages are "
        "restructured into training data (arXiv 2506.10943). entities: questions about pairs of entities of the text "
        "(arXiv 2605.19394). reasoning: gaps are filled step by step (arXiv 2507.23751). An installed package may offer others.",
    )
    templates: list[Annotated[str, AfterValidator(require_passage)]] = Field(
        ["Write a new text on the subject of this passage, for a reader who knows the field.\n\n{passage}"],
        min_length=1,
        description="domain: prompt templates with the field {passage}. Each sample has one of them.",
    )
    system: str = Field("", description="domain, self-edit: system message. Empty: none.")
    formats: list[Literal["implications", "rewrite", "self-qa"]] = Field(
        ["implications", "rewrite", "self-qa"],
        min_length=1,
        description="self-edit: forms that a passage is restructured into.",
    )
    edits: Positive = Field(5, description="self-edit: edits per passage.")
    pairs: list[Literal["near", "within", "across"]] = Field(
        ["near", "within", "across"],
        min_length=1,
        description="entities: choice of pairs. near: nearest neighbours. within: of one cluster. across: of two clusters.",
    )
    clusters: int = Field(
        8, ge=2, le=1000, description="entities: number of clusters. At most the number of entities is used."
    )
    occurrences: Positive = Field(2, description="entities: minimum number of sentences that name an entity.")
    entities: int = Field(500, ge=3, le=20_000, description="entities: number of entities, the most frequent ones.")
    answers: Positive = Field(8, description="reasoning: answers per question.")

    _distinct = field_validator("templates", "formats", "pairs")(require_distinct)


def installed_makers() -> list[str]:
    return list(offered(GROUP))
