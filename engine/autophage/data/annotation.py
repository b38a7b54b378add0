"""Annotation anchoring (arXiv 2605.09995): what a document is about is drawn from humans, and the model writes on from it.

A model that chooses its own subjects chooses ever fewer. Here an annotation is drawn from the human distribution first: the
beginning of a human document, in a world up to the name of the first person in it, in a text its first `sample.annotation`
tokens. It is given as the prompt (`sample.prompts = "annotated"`) and belongs to the document: it is trained on with the
rest, so that the next model's own beginnings stay human too. This knows how prompt and sample make one document; where
annotations come from is the source's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autophage.data.tokens import decode
from autophage.recipe.schema import Recipe
from autophage.store.corpus import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def document_ids(start: Sequence[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> list[int]:
    """Tokens of a document behind its `start`: the continuation, and before it the annotation where the prompt is one."""
    return [*prompt[len(start) :], *continuation] if recipe.annotated else continuation


def whole_documents(
    samples: Sequence[Sample], start: Sequence[int], tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> tuple[list[str], list[list[int]]]:
    """Texts and token ids of the documents that `samples` are, both without special tokens."""
    whole = [document_ids(start, sample.prompt_ids, sample.token_ids, recipe) for sample in samples]
    special = frozenset(tokenizer.all_special_ids)
    texts = [sample.text for sample in samples]
    if recipe.annotated:
        texts = [decode(tokenizer, one, special=False) for one in whole]
    return texts, [[token for token in one if token not in special] for one in whole]
