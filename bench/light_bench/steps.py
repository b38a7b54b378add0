"""Training steps, scoring and the head: as the engine computes them, and with parts switched off.

A whole step is one of `ResidentModel.fit`. The others call the model and the fused head directly, on the same documents:
with the adapter or without, and with every watched statistic or the log-prob alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from light_bench.subject import Subject, Time

STEPS = 2
"""Optimizer steps of a whole fit. Its time over the steps includes a share of the trainer's construction."""


class Steps:
    """Steps of the resident trainer on documents of one length."""

    def __init__(self, subject: Subject) -> None:
        asked = subject.asked
        self._subject, self._resident = subject, subject.live.bench.resident
        self._arm = subject.live.arms[0]
        self._start = self._resident.base_weights(self._arm.recipe)
        if self._start.method == "lora":
            from harness.engine import variants

            [self._start] = variants(subject.live, 1)
        self._documents = subject.documents(asked.batch_size * STEPS, asked.length)
        batch = self._documents[: asked.batch_size]
        self._ids_BL = subject.torch.tensor(batch, device=subject.device)

    def fit(self, warm: bool = False) -> dict[str, Time]:
        """Time a fit, divided by its steps. To warm up, it has a single document."""
        from autophage.data.mix import TrainingRow
        from autophage.trainer.fit import FitRequest

        rows = [TrainingRow(ids, 1) for ids in self._documents[: 1 if warm else None]]
        found: list[Time] = []
        with self._subject.timed(found):
            self._resident.fit(FitRequest(self._start, rows, self._arm.recipe, 0))
        [(seconds, processor)] = found
        return {"step": (seconds / STEPS, processor / STEPS)}

    def step(self, adapted: bool, statistics: bool, warm: bool = False) -> dict[str, Time]:
        """Time the forward and backward pass of one batch."""
        self._resident._load(self._start, rounded=False)
        found: list[Time] = []
        with self._subject.timed(found):
            self._pass(adapted, statistics, 1 if warm else None)
        return {"step": found[0]}

    def profile_step(self, adapted: bool) -> dict[str, dict[str, float]]:
        self._resident._load(self._start, rounded=False)
        return {"step": self._subject.profiled(lambda: self._pass(adapted, False))}

    def _pass(self, adapted: bool, statistics: bool, documents: int | None = None) -> None:
        from autophage.trainer.objective import WATCHED

        ids_BL = self._ids_BL[:documents]
        model, head = self._resident.model, self._resident.head
        model.train()
        embedding = model.get_input_embeddings()
        # Without a trained weight below it, the first layer would need no gradient, and neither would all others.
        hook = embedding.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
        try:
            with nullcontext() if adapted else model.disable_adapter():
                rows_BLX = head.rows({"input_ids": ids_BL})
                rows_TX = rows_BLX[:, :-1].flatten(0, 1)
                stats = head.stats(rows_TX, ids_BL[:, 1:].flatten(), WATCHED if statistics else ("logprob",))
                assert stats.logprob is not None
                (-stats.logprob.mean()).backward()
        finally:
            hook.remove()
            model.zero_grad()
            model.eval()

    def score(self, warm: bool = False) -> dict[str, Time]:
        """Time the scoring of a batch: the statistics of every token, in host memory."""
        sequences = self._documents[: 1 if warm else self._subject.asked.batch_size]
        found: list[Time] = []
        with self._subject.timed(found):
            self._resident.score(sequences, [1] * len(sequences))
        return {"step": found[0]}

    def hidden(self, warm: bool = False) -> dict[str, Time]:
        """Time the layers of a batch without the head."""
        found: list[Time] = []
        with self._subject.torch.inference_mode(), self._subject.timed(found):
            self._resident.head.rows({"input_ids": self._ids_BL[: 1 if warm else None]})
        return {"step": found[0]}

    def profile_hidden(self) -> dict[str, dict[str, float]]:
        def work() -> None:
            with self._subject.torch.inference_mode():
                self._resident.head.rows({"input_ids": self._ids_BL})

        return {"step": self._subject.profiled(work)}

    def head(self, statistics: str, warm: bool = False) -> dict[str, Time]:
        """Time the fused head on the trained tokens of a batch, forward alone and with the gradient of its inputs."""
        from autophage.trainer.objective import WATCHED
        from autophage.trainer.scoring import COLUMNS

        names = {"logprob": ("logprob",), "watched": WATCHED, "all": COLUMNS}[statistics]
        torch, head = self._subject.torch, self._resident.head
        width = head.weight.shape[1] if head.weight is not None else head.vocabulary
        target_T = self._ids_BL[: 1 if warm else None, 1:].flatten()
        rows_TX = torch.randn(len(target_T), width, device=self._subject.device, dtype=self._subject.dtype)
        forward: list[Time] = []
        both: list[Time] = []
        with torch.inference_mode(), self._subject.timed(forward):
            head.stats(rows_TX, target_T, names)
        rows_TX.requires_grad_()
        with self._subject.timed(both):
            stats: Any = head.stats(rows_TX, target_T, names)
            (-stats.logprob.mean()).backward()
        return {"forward": forward[0], "both": both[0]}
