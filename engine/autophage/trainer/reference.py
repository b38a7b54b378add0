"""The reference model of an anchor: model 0, or a teacher with the same vocabulary.

The reference computes beside the live model, without a gradient and in evaluation mode. It never changes. Model 0 takes no
memory of its own: it is the resident base with its adapter disabled.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from autophage.data.tokens import load_tokenizer
from autophage.errors import UserError
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.loading import load_model
from autophage.trainer.modes import evaluating, without_adapters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reference:
    """A fixed model to which the losses of an `[anchor]` refer."""

    head: LanguageHead
    adapted: bool = False
    """True if the model has adapters. They are disabled while the reference computes."""

    @torch.no_grad()
    def rows(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the reference's rows for a batch as `LanguageHead.rows` does: [B, L, H], or [B, L, V] if not fused."""
        model = self.head.model
        with evaluating(model), without_adapters(model) if self.adapted else nullcontext():
            return self.head.rows(inputs)


def load_teacher(path: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int, dtype: torch.dtype) -> Reference:
    """Load a folder or hub id as the frozen reference of a trained model.

    The teacher must have the trained model's `tokenizer`, and as many logits: `vocabulary`.

    Raises:
        UserError: the teacher cannot be loaded, or its vocabulary differs.
    """
    other = load_tokenizer(path).get_vocab()
    own = tokenizer.get_vocab()
    if other != own:
        strange = min(set(other.items()) ^ set(own.items()), key=lambda entry: (entry[1], entry[0]))[0]
        raise UserError(
            f"anchor.reference = {path!r}: its vocabulary is not the model's: token {strange!r} has id {other.get(strange)} "
            f"there and {own.get(strange)} here. Distributions are compared token by token. Use a model with the same tokenizer."
        )
    model = load_model(path, dtype)
    if (found := int(model.config.get_text_config().vocab_size)) != vocabulary:
        raise UserError(
            f"anchor.reference = {path!r} has {found:,} logits, but the model has {vocabulary:,}. Both need the same number."
        )
    return Reference(find_head(model.requires_grad_(False)))
