"""Sequence classifiers of transformers: a text or a pair of texts in, one logit per class out.

A classifier computes in float32. It occupies this process's device only during a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from autophage.data.own_code import own_code_refused
from autophage.errors import foreign_errors
from autophage.host.devices import device
from autophage.trainer.loading import load_pretrained

BATCH = 64
LONGEST = 512
"""Largest number of input tokens. Longer inputs are cut. Most classifiers have no more positions."""


class SequenceClassifier:
    """A sequence classifier from a folder or hub id."""

    def __init__(self, path: str, key: str) -> None:
        """Load the classifier. `key` is the recipe key of `path`, for error messages.

        Raises:
            UserError: `path` holds no classifier.
        """
        from transformers import AutoModelForSequenceClassification

        self.labels = read_labels(path, key)
        self._tokenizer, self._model = load_reader(AutoModelForSequenceClassification, path, key)
        self._longest = longest_input(self._model, self._tokenizer)
        self.tokens_read = 0

    def logits(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> torch.Tensor:
        """Return the logits [texts, classes] of `texts` on the CPU, without rows for no texts.

        With `seconds`, input i is the pair of `texts[i]` and `seconds[i]`.
        """
        if not texts:
            return torch.empty((0, len(self.labels)))
        with at_work(self._model):
            return torch.cat(list(self._batches(texts, seconds)))

    @torch.inference_mode()
    def _batches(self, texts: Sequence[str], seconds: Sequence[str] | None) -> Iterator[torch.Tensor]:
        for start in range(0, len(texts), BATCH):
            columns = [list(texts[start : start + BATCH])]
            columns += [] if seconds is None else [list(seconds[start : start + BATCH])]
            truncation = "longest_first" if seconds is not None else True
            inputs = self._tokenizer(
                *columns, padding=True, truncation=truncation, max_length=self._longest, return_tensors="pt"
            )
            self.tokens_read += int(inputs["attention_mask"].sum())
            yield self._model(**inputs.to(self._model.device)).logits.float().cpu()


@contextmanager
def at_work(model: Any) -> Iterator[None]:
    """Move a model to this process's device during the body, and back to the CPU afterwards.

    The trainer needs the memory between calls.
    """
    model.to(device())
    try:
        yield
    finally:
        model.to("cpu")


def load_reader(auto_class: Any, path: str, key: str) -> tuple[Any, Any]:
    """Return the tokenizer and the model of a transformers auto class, the model in float32 on the CPU.

    `path` is a folder or hub id. `key` is the recipe key of `path`, for error messages.

    Raises:
        UserError: the model cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer

    with _explained(path, key):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    # Encoders are read at their last hidden state, which no pooler changes.
    backbone = auto_class is AutoModel
    model = load_pretrained(
        auto_class, path, torch.float32, f"{key} = {path!r}", without=("pooler",) if backbone else (), extra=backbone
    )
    return tokenizer, model


@contextmanager
def _explained(path: str, key: str) -> Iterator[None]:
    """Turn whatever transformers raises over the files of `path` into a `UserError`."""
    with (
        foreign_errors(
            f"{key} = {path!r}: cannot be loaded", "Give a model folder, or a hub id that is reachable or cached."
        ),
        own_code_refused(path),
    ):
        yield


def longest_input(model: Any, tokenizer: Any) -> int:
    """Return the largest number of tokens that a classifier reads of an input, at most `LONGEST`."""
    positions = getattr(model.config, "max_position_embeddings", LONGEST)
    return int(min(LONGEST, positions, tokenizer.model_max_length))


def read_labels(path: str, key: str) -> list[str]:
    """Return the names of a classifier's classes, in the order of its logits. Only the configuration is read.

    Raises:
        UserError: the configuration cannot be loaded.
    """
    from transformers import AutoConfig

    with _explained(path, key):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return [str(name) for _, name in sorted((int(place), name) for place, name in config.id2label.items())]
