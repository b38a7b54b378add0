"""Annotation anchoring (arXiv 2605.09995): humans choose the subject, and the model writes the rest.

A model that chooses its own subjects chooses ever fewer. An annotation is the beginning of a human document. In a
world it ends with the name of the first person. In a text it is the first `sample.annotation` tokens. The annotation
is the prompt (`sample.prompts = "annotated"`) and also part of the document. It is trained on, judged and measured
with the rest. The next model's beginnings therefore stay human. This module joins prompt and continuation into one
document. Sources draw the annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autophage.data.tokens import decode, start_ids
from autophage.recipe.schema import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def document_ids(start: Sequence[int], prompt: list[int], continuation: list[int], recipe: Recipe) -> list[int]:
    """Return the token ids of a sampled document, without the opening tokens `start`.

    A prompt that is an annotation belongs to the document and precedes the continuation. Any other prompt is left
    out.
    """
    return [*prompt[len(start) :], *continuation] if recipe.annotated else continuation


def prompt_and_text(
    prompt: list[int], continuation: list[int], recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, str]:
    """Return the prompt and the document of a sample, decoded from token ids `prompt` and `continuation`.

    An annotation moves from the prompt to the document. Only the start token is then left as the prompt.
    """
    start = start_ids(tokenizer)
    text = decode(tokenizer, document_ids(start, prompt, continuation, recipe), special=False)
    return decode(tokenizer, start if recipe.annotated else prompt), text
