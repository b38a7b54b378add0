"""Models that a recipe names for its gates. Each is loaded once and asked in batches.

The writer and model 0 are in memory already, and are not loaded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autophage.data.tokens import load_tokenizer, start_ids
from autophage.errors import UserError
from autophage.host.devices import element_type
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.trainer.classifier import SequenceClassifier, at_work, read_labels
from autophage.trainer.head import find_head
from autophage.trainer.loading import load_model
from autophage.trainer.scoring import score


class NamedModel:
    """A causal language model that scores texts with its own tokenizer, loaded from a folder or hub id.

    It occupies the device only while it scores. `tokens_read` counts the tokens scored so far, contexts included.

    Raises:
        UserError: The model cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        self._tokenizer = load_tokenizer(path)
        self._head = find_head(load_model(path, element_type("auto"), torch.device("cpu")))
        config = self._head.model.config.get_text_config()
        self._positions = getattr(config, "max_position_embeddings", None)
        self.tokens_read = 0

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
        """Return the statistics of each text's tokens. `pairs` hold the context and then the text to score.

        A text longer than the model's positions is cut at its end. A longer context is cut at its start.
        """
        sequences, contexts = [], []
        for before, text in pairs:
            # A prompt may be a chat template's, with control tokens.
            context = self._tokenizer.encode(before, add_special_tokens=False, split_special_tokens=False)
            own = self._tokenizer.encode(text, add_special_tokens=False)
            if self._positions is not None:
                own = own[: self._positions - 1]
                context = context[len(context) - min(len(context), self._positions - 1 - len(own)) :]
            sequences.append([*start_ids(self._tokenizer), *context, *own])
            contexts.append(len(sequences[-1]) - len(own))
        self.tokens_read += sum(map(len, sequences))
        with at_work(self._head.model):
            return score(self._head, sequences, contexts, Meter())


class Judge:
    """A sequence classifier that gives a text one number: the probability of `label`, or its single raw output.

    `key` is the recipe key that messages name.

    Raises:
        UserError: The model cannot be loaded, or `label` does not name one of its labels.
    """

    def __init__(self, path: str, label: str | None, key: str) -> None:
        self._classifier = SequenceClassifier(path, key)
        self._place = _place(self._classifier.labels, path, label, key)

    def values(self, texts: Sequence[str]) -> list[float]:
        """Return one number per text: the probability of the label, or the raw output of a single-output model."""
        logits_NC = self._classifier.logits(texts)
        chosen_N = logits_NC[:, 0] if self._place is None else logits_NC.softmax(-1)[:, self._place]
        return [float(value) for value in chosen_N]

    @property
    def tokens_read(self) -> int:
        return self._classifier.tokens_read


def _place(labels: Sequence[str], path: str, label: str | None, key: str) -> int | None:
    if len(labels) == 1 and label is None:
        return None
    if label not in labels:
        told = "which label is meant?" if label is None else f"it has no label {label!r}."
        raise UserError(
            f"{key} = {path!r}: {told} Its labels are: {', '.join(labels)}. Name one: label = {labels[-1]!r}."
        )
    return labels.index(label)


def require_judge(path: str, label: str | None, key: str) -> None:
    """Check by its configuration that the classifier at `path` can judge by `label`. No weights are loaded.

    Without `label` the model must have a single output. `key` is the recipe key that messages name.

    Raises:
        UserError: The model cannot be read, or the label is missing or unknown.
    """
    _place(read_labels(path, key), path, label, key)
