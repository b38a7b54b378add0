"""How far a text entails another, by any sequence classifier of transformers that was trained on entailment (NLI).

The pair (premise, hypothesis) is classified; the softmax probability of the label whose name begins with "entail" is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from autophage.errors import UserError
from autophage.trainer.classifier import SequenceClassifier, read_labels

QUESTIONS = "questions.entailment"


class Entailment:
    """Loaded when it is made. `key` is the setting that named `path`, for messages.

    Raises:
        UserError: there is no such classifier at `path`, or it tells no entailment.
    """

    def __init__(self, path: str, key: str = QUESTIONS) -> None:
        self._label = entailment_label(path, key)
        self._classifier = SequenceClassifier(path, key)

    def probabilities(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
        """P(premise entails hypothesis) of each pair, in order."""
        logits_NC = self._classifier.logits(premises, hypotheses)
        return [float(value) for value in logits_NC.softmax(-1)[:, self._label]]

    @property
    def tokens_read(self) -> int:
        return self._classifier.tokens_read


def entailment_label(path: str, key: str = QUESTIONS) -> int:
    """The class of a classifier that means entailment; reads its configuration alone.

    Raises:
        UserError: there is no such model, or none of its labels begins with "entail".
    """
    labels = read_labels(path, key)
    found = [place for place, name in enumerate(labels) if name.lower().startswith("entail")]
    if len(found) != 1:
        raise UserError(
            f"{key} = {path!r}: tells no entailment. One label must begin with 'entail', and its labels are: "
            f"{', '.join(labels)}."
        )
    return found[0]
