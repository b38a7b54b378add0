"""A resident model over several ranks: whole on each of them, or its layers split for models that one GPU does not hold.

Each split decoder layer (FSDP2) divides its frozen weights over the ranks and gathers them while it computes. Two parts
stay whole in either case:

- The adapter. It is trained, loaded, read and exchanged, and it is below a hundredth of the model. Its gradients are
  summed over ranks before each step, so it stays equal on all of them.
- The LM head. The loss needs it whole in any case.

Ranks share the rows of a training batch and the batches of a scoring. All other work runs on every rank.
A trained adapter equals that of one process up to the order in which gradients are summed. Statistics are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from autophage.data.mix import TrainingRow
from autophage.errors import RunError
from autophage.host.devices import element_type
from autophage.metrics.scored import Scored
from autophage.plan.memory import LAYOUT
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.training import StepStatistics
from autophage.trainer.fit import FitRequest, Fitted, Share
from autophage.trainer.inner_loop import InnerLoop
from autophage.trainer.layers import decoder_layers
from autophage.trainer.loading import load_model
from autophage.trainer.passes import Budget, batches, budget
from autophage.trainer.ranks import Ranks, share
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import score, score_choices
from autophage.trainer.sft import WatchedTrainer, run_sft

CPU = torch.device("cpu")
UNTRAINED = TrainingRow([0, 0], 2)
"""A row without a trained token. It fills the batch of a rank that has a row too few."""
T = TypeVar("T")


class ShardedModel(ResidentModel):
    """One rank's part of a resident model over several ranks.

    Every method is called on every rank with the same arguments.
    """

    def __init__(self, path: str, recipe: Recipe, ranks: Ranks, *, whole: bool = False) -> None:
        """Load the model: `whole` on this rank, or this rank's part of each layer. All ranks give the same."""
        self.ranks = ranks
        self.whole = whole
        super().__init__(path, recipe)

    @property
    def layout(self) -> str:
        return LAYOUT[self.whole]

    def _load_base(self, path: str) -> Any:
        # The model is whole in the machine's memory before it is split. One rank loads at a time.
        with self.ranks.in_turn("load"):
            dtype = element_type(self.recipe.model.dtype)
            base = load_model(path, dtype, self.ranks.device if self.whole else CPU)
            if not self.whole:
                shard(base, self.ranks)
        return base

    def fit(self, request: FitRequest) -> Fitted:
        fitted = super().fit(request)
        self.ranks.require_same("the trained adapter", fitted.weights.digest)
        return fitted

    def _train(self, request: FitRequest) -> tuple[list[StepStatistics], bytes | None]:
        size = self.ranks.size
        rows = share(request.rows, request.batch_size, self.ranks.rank, size, UNTRAINED)
        own = Share(rows, math.ceil(request.batch_size / size))
        step = partial(SharedStep, ranks=self.ranks, whole=self.whole)
        steps, optimizer = run_sft(self.live, self.tokenizer, request, self.micro_batch, share=own, make=step)
        return together(steps, self.ranks), optimizer

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        contexts: Sequence[int],
        meter: Meter | None = None,
    ) -> list[Scored]:
        def own(mine: list[int]) -> list[Scored]:
            return score(self.head, [sequences[i] for i in mine], [contexts[i] for i in mine], Meter(), self._limits)

        return self._shared(self._batches(sequences), own, meter or Meter())

    def score_choices(
        self,
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Sequence[int]],
        meter: Meter | None = None,
    ) -> list[Scored]:
        def own(mine: list[int]) -> list[Scored]:
            return score_choices(
                self.head, [prompts[i] for i in mine], [choices[i] for i in mine], Meter(), self._limits
            )

        return self._shared(self._batches(prompts), own, meter or Meter())

    def _gains(self, loop: InnerLoop, rows: Sequence[TrainingRow], meter: Meter) -> list[float]:
        # Each rank moves its own adapter. It is whole on every rank, and restored before the next collective.
        each = [[i] for i in range(len(rows))]
        return self._shared(each, lambda mine: [loop.gain(rows[i]) for i in mine], meter, loop.passes)

    def _batches(self, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        return list(batches([len(sequence) for sequence in sequences], self._limits))

    @property
    def _limits(self) -> Budget:
        """Limits of a pass. Ranks pass through split layers equally often, so none takes a pass of its own for prefixes."""
        return replace(budget(self.head), cached=None)

    def _shared(
        self,
        planned: Sequence[list[int]],
        work: Callable[[list[int]], list[T]],
        meter: Meter,
        units: int = 1,
    ) -> list[T]:
        """Return the results of `work` for all indices, in order of indices.

        `planned` has batches of indices. Ranks take them in turn, and every rank returns all results. The meter
        advances by `units` per index.
        """
        found: dict[int, T] = {}
        size = self.ranks.size
        for first in range(0, len(planned), size):
            # A rank without a batch repeats the last one. All ranks must pass through the layers equally often.
            mine = planned[min(first + self.ranks.rank, len(planned) - 1)]
            found.update(zip(mine, work(mine), strict=True))
            meter.advance(units * sum(map(len, planned[first : first + size])))
        for part in self.ranks.gather(found):
            found |= part
        return [found[index] for index in sorted(found)]


class SharedStep(WatchedTrainer):
    """A training step whose batch is shared by ranks: one denominator, one check of the loss, one gradient."""

    def __init__(self, *args: Any, ranks: Ranks, whole: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # With split layers, a rank with more micro-batches than the others would wait for them forever.
        self.divides = whole
        self._ranks = ranks
        self._together = torch.tensor(math.nan)

    def _tokens(self, inputs: dict[str, Any]) -> torch.Tensor:
        return self._ranks.total(inputs["tokens"].clone())

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, *args, **kwargs)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([_gradient(parameter).flatten() for parameter in trained])
        parts = self._ranks.total(flat).split([parameter.numel() for parameter in trained])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self._together = self._ranks.total(loss.clone())
        return self._together

    def _require_finite(self, norm: torch.Tensor) -> None:
        # The sums are equal on all ranks. One that is not finite therefore stops all of them together.
        own, total, length = torch.stack([self._loss, self._together, norm]).tolist()
        if math.isfinite(own) and not math.isfinite(total):
            raise RunError(f"another rank's loss is not finite at step {self.state.global_step + 1}")
        self._judge(own, length)


def shard(base: Any, ranks: Ranks) -> None:
    """Split the decoder layers of a model on the CPU over `ranks`, in place. The LM head stays whole.

    The head and all buffers move to the device. Adapters that are added later belong to no shard and stay whole. The
    backbone is the outermost split module, because `LanguageHead` calls it.
    """
    base.requires_grad_(False)
    head = base.get_output_embeddings()
    whole = set(head.parameters()) if head is not None else set()
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for layer in decoder_layers(base):
        fully_shard(layer, mesh=mesh, ignored_params=whole & set(layer.parameters()))
    fully_shard(base.base_model, mesh=mesh, ignored_params=whole & set(base.base_model.parameters()))
    for parameter in whole:
        parameter.data = parameter.data.to(ranks.device)
    for module in base.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(ranks.device)


def together(steps: Sequence[StepStatistics], ranks: Ranks) -> list[StepStatistics]:
    """Average this rank's statistics of each optimizer step with those of all other ranks, weighted by tokens."""
    table_SX = torch.tensor(
        [[one.tokens, *(0.0 if one.tokens == 0 else one.tokens * value for value in _values(one))] for one in steps],
        dtype=torch.float64,
    )
    sums_SX = ranks.total(table_SX)
    return [
        StepStatistics(one.step, int(tokens), *(value / tokens if tokens else math.nan for value in values))
        for one, (tokens, *values) in zip(steps, sums_SX.tolist(), strict=True)
    ]


def _values(step: StepStatistics) -> list[float]:
    return list(vars(step).values())[2:]


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
