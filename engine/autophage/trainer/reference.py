"""The model that training is held to: model 0, or a teacher with the same vocabulary. It computes beside the live one, without
a gradient and in evaluation mode, and never changes.

Model 0 takes no memory of its own: it is the resident base, with whatever adapter sits on it switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from autophage.data.tokens import load_tokenizer
from autophage.errors import UserError
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.loading import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reference:
    """`adapted`: the head's model has adapters on it, which are no part of the reference."""

    head: LanguageHead
    adapted: bool = False

    @torch.no_grad()
    def rows(self, inputs: dict[str, Any]) -> torch.Tensor:
        """What `LanguageHead.rows` gives for the reference: [B, L, H], or [B, L, V] where its head is not fused."""
        with self._alone():
            return self.head.rows(inputs)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        model = self.head.model
        training = model.training
        model.eval()
        if self.adapted:
            model.base_model.disable_adapter_layers()
        try:
            yield
        finally:
            if self.adapted:
                model.base_model.enable_adapter_layers()
            model.train(training)


def load_teacher(path: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int, dtype: torch.dtype) -> Reference:
    """The model at `path`, a folder or hub id, as a reference for one with this tokenizer and so many logits.

    Raises:
        UserError: it cannot be loaded, or speaks of other tokens.
    """
    other = load_tokenizer(path).get_vocab()
    own = tokenizer.get_vocab()
    if other != own:
        strange = min(set(other.items()) ^ set(own.items()), key=lambda entry: (entry[1], entry[0]))[0]
        raise UserError(
            f"anchor.reference = {path!r}: its vocabulary is not the model's: token {strange!r} is number {other.get(strange)} "
            f"there and {own.get(strange)} here. Distributions are compared token by token: take one with the same tokenizer."
        )
    model = load_model(path, dtype)
    if (found := int(model.config.get_text_config().vocab_size)) != vocabulary:
        raise UserError(
            f"anchor.reference = {path!r}: gives {found:,} logits, and the model {vocabulary:,}; both must be of one size."
        )
    return Reference(find_head(model.requires_grad_(False)))
