"""Textual entailment by a sequence classifier of transformers that was trained for it (NLI).

The classifier reads a pair (premise, hypothesis). The probability is the softmax of the label that begins with "entail".
"""

from __future__ import annotations

from collections.abc import Sequence

from autophage.errors import UserError
from autophage.trainer.classifier import SequenceClassifier, read_labels

QUESTIONS = "questions.entailment"


class Entailment:
    """An entailment classifier from a folder or hub id."""

    def __init__(self, path: str, key: str = QUESTIONS) -> None:
        """Load the classifier. `key` is the recipe key of `path`, for error messages.

        Raises:
            UserError: `path` holds no classifier, or one without an entailment label.
        """
        self._label = entailment_label(path, key)
        self._classifier = SequenceClassifier(path, key)

    def probabilities(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
        """Return P(premise entails hypothesis) for each pair, in order."""
        logits_NC = self._classifier.logits(premises, hypotheses)
        return [float(value) for value in logits_NC.softmax(-1)[:, self._label]]

    @property
    def tokens_read(self) -> int:
        """Number of input tokens that the classifier has read so far, without padding."""
        return self._classifier.tokens_read


def entailment_label(path: str, key: str = QUESTIONS) -> int:
    """Return the index of a classifier's entailment class. Only the configuration is read.

    Raises:
        UserError: the configuration cannot be loaded, or not exactly one label begins with "entail".
    """
    labels = read_labels(path, key)
    found = [place for place, name in enumerate(labels) if name.lower().startswith("entail")]
    if len(found) != 1:
        raise UserError(
            f"{key} = {path!r} is no entailment classifier. Exactly one label must begin with 'entail'. Its labels are: "
            f"{', '.join(labels)}."
        )
    return found[0]
