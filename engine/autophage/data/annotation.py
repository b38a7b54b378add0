"""Annotation anchoring (arXiv 2605.09995): what a document is about is drawn from humans, and the model writes on from it.

A model that chooses its own subjects chooses ever fewer. Here an annotation is drawn from the human distribution first: the
beginning of a human document, in a world up to the name of the first person in it, in a text its first `sample.annotation`
tokens. It is given as the prompt (`sample.prompts = "annotated"`) and belongs to the document: it is trained on, judged and
measured with the rest, so that the next model's own beginnings stay human too. This knows how prompt and continuation make one
document; where annotations come from is the source's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autophage.data.tokens import decode, start_ids
from autophage.recipe.schema import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def document_ids(start: Sequence[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> list[int]:
    """Tokens of a document behind its `start`: the continuation, and before it the annotation where the prompt is one."""
    return [*prompt[len(start) :], *continuation] if recipe.annotated else continuation


def prompt_and_text(
    prompt: list[int], continuation: list[int], recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, str]:
    """What a sample was asked by and what it says: an annotation is part of what it says."""
    start = start_ids(tokenizer)
    text = decode(tokenizer, document_ids(start, prompt, continuation, recipe), special=False)
    return decode(tokenizer, start if recipe.annotated else prompt), text
