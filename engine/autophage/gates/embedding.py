"""Text embeddings by any transformers encoder: the normalised mean of the last hidden states of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from autophage.trainer.classifier import BATCH, at_work, load_reader, longest_input


class Encoder:
    """A transformers text encoder in float32, loaded from `path` on construction.

    It occupies the device only while it encodes. `tokens_read` counts the tokens encoded so far, without padding.

    Raises:
        UserError: The model at `path` cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        from transformers import AutoModel

        self._tokenizer, self._model = load_reader(AutoModel, path, "gate.model")
        self._longest = longest_input(self._model, self._tokenizer)
        self.tokens_read = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return one unit vector per text, float32 `[texts, width]`.

        A text without tokens gives a zero vector. Without texts the shape is `[0, 1]`.
        """
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        with at_work(self._model):
            return np.concatenate(list(self._batches(texts)))

    @torch.inference_mode()
    def _batches(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(texts), BATCH):
            inputs = self._tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            ).to(self._model.device)
            hidden_BLD = self._model(**inputs).last_hidden_state.float()
            self.tokens_read += int(inputs["attention_mask"].sum())
            mask_BL1 = inputs["attention_mask"].unsqueeze(-1).float()
            mean_BD = (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1)
            yield torch.nn.functional.normalize(mean_BD, dim=-1).cpu().numpy()
