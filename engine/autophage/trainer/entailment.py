"""How far a text entails another, by any sequence classifier of transformers that was trained on entailment (NLI).

The pair (what was written, the right option) is classified; the softmax probability of the label whose name begins with
"entail" is what counts. In float32, on the trainer's device only while it is at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autophage.data.own_code import refuse_own_code
from autophage.devices import device
from autophage.errors import UserError, first_line

BATCH = 64
LONGEST = 512
"""Tokens of a pair; what is longer is cut. Classifiers of this kind have no more positions."""


class Entailment:
    """Loaded when it is made.

    Raises:
        UserError: there is no such classifier at `path`.
    """

    def __init__(self, path: str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._label = entailment_label(path)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                path, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            ).eval()
        except (OSError, ValueError, KeyError, TypeError) as error:
            refuse_own_code(path, error)
            raise UserError(f"questions.entailment = {path!r}: cannot be loaded ({first_line(error)}).") from error
        positions = getattr(self._model.config, "max_position_embeddings", LONGEST)
        self._longest = min(LONGEST, positions, self._tokenizer.model_max_length)

    def probabilities(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
        """P(premise entails hypothesis) of each pair, in order."""
        self._model.to(device())
        try:
            return [one for part in self._batches(premises, hypotheses) for one in part]
        finally:
            self._model.to("cpu")

    @torch.inference_mode()
    def _batches(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Iterator[list[float]]:
        for start in range(0, len(premises), BATCH):
            pairs = list(premises[start : start + BATCH]), list(hypotheses[start : start + BATCH])
            inputs = self._tokenizer(
                *pairs, padding=True, truncation="longest_first", max_length=self._longest, return_tensors="pt"
            )
            logits_BC = self._model(**inputs.to(self._model.device)).logits.float()
            yield logits_BC.softmax(-1)[:, self._label].tolist()


def entailment_label(path: str) -> int:
    """The class of a classifier that means entailment; reads its configuration alone.

    Raises:
        UserError: there is no such model, or none of its labels begins with "entail".
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        refuse_own_code(path, error)
        raise UserError(
            f"questions.entailment = {path!r}: cannot be loaded ({first_line(error)}). Give a model folder, or a hub id that "
            "is reachable or cached."
        ) from error
    labels = {int(place): str(name) for place, name in config.id2label.items()}
    found = [place for place, name in labels.items() if name.lower().startswith("entail")]
    if len(found) != 1:
        raise UserError(
            f"questions.entailment = {path!r}: tells no entailment. One label must begin with 'entail', and its labels are: "
            f"{', '.join(labels.values())}."
        )
    return found[0]
