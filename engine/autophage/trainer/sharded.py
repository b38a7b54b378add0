"""A resident model whose layers are spread over ranks (FSDP2), for models that one GPU does not hold.

Each decoder layer's frozen weights are split over the ranks and gathered while the layer computes. Two things stay whole on
every rank. The adapter: it is what is trained, loaded, read and exchanged, and below a hundredth of the model; its gradients
are summed over ranks before each step, so it stays equal on all. And the LM head: the loss needs it whole in any case.

Ranks share the rows of a batch and the batches of a scoring; everything else they do alike. A trained adapter equals that of
one process up to the order in which gradients are summed; statistics are those of one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from autophage.data.mix import AnyRow, TrainingRow
from autophage.errors import RunError
from autophage.host.devices import element_type
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.training import StepStatistics
from autophage.trainer.inner_loop import InnerLoop
from autophage.trainer.loading import load_model
from autophage.trainer.portions import trained_tokens
from autophage.trainer.ranks import Ranks, share
from autophage.trainer.resident import Fitted, ResidentModel
from autophage.trainer.scoring import batch_tokens, batches, score, score_choices
from autophage.trainer.sft import WatchedTrainer, run_sft

CPU = torch.device("cpu")
T = TypeVar("T")


class ShardedModel(ResidentModel):
    """One rank's part. Every method is called on every rank, with the same arguments."""

    def __init__(self, path: str, recipe: Recipe, ranks: Ranks) -> None:
        self.ranks = ranks
        super().__init__(path, recipe)

    def _load_base(self, path: str) -> Any:
        # Whole in the machine's memory before it is split: one rank at a time.
        with self.ranks.in_turn("load"):
            base = load_model(path, element_type(self.recipe.model.dtype), CPU)
            shard(base, self.ranks)
        return base

    def fit(self, *args: Any, **kwargs: Any) -> Fitted:
        fitted = super().fit(*args, **kwargs)
        self.ranks.require_same("the trained adapter", fitted.weights.digest)
        return fitted

    def _train(
        self,
        rows: Sequence[AnyRow],
        settings: Recipe,
        seed: int,
        meter: Meter,
        observe: Callable[[StepStatistics], None],
        optimizer: bytes | None,
    ) -> bytes | None:
        batch, size = settings.train.batch_size, self.ranks.size
        silent = TrainingRow([0, 0], 2)  # a row without a token to train on
        own = share(rows, batch, self.ranks.rank, size, silent)
        train = settings.train.model_copy(update={"batch_size": math.ceil(batch / size)})
        steps: list[StepStatistics] = []
        state = run_sft(
            self.live,
            self.tokenizer,
            own,
            settings.model_copy(update={"train": train}),
            seed,
            meter,
            steps.append,
            optimizer,
            self.portion,
            make=partial(SharedStep, ranks=self.ranks),
        )
        for step in together(steps, self.ranks):
            observe(step)
        return state

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        contexts: Sequence[int],
        meter: Meter | None = None,
    ) -> list[Scored]:
        def own(mine: list[int]) -> list[Scored]:
            return score(self.head, [sequences[i] for i in mine], [contexts[i] for i in mine], Meter())

        return self._shared(self._batches(sequences), own, meter or Meter())

    def score_choices(
        self,
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Sequence[int]],
        meter: Meter | None = None,
    ) -> list[Scored]:
        def own(mine: list[int]) -> list[Scored]:
            return score_choices(self.head, [prompts[i] for i in mine], [choices[i] for i in mine], Meter())

        return self._shared(self._batches(prompts), own, meter or Meter())

    def _gains(self, loop: InnerLoop, rows: Sequence[TrainingRow], meter: Meter) -> list[float]:
        # Each rank moves its own adapter: it is whole on every one, and put back before ranks meet again.
        each = [[i] for i in range(len(rows))]
        return self._shared(each, lambda mine: [loop.gain(rows[i]) for i in mine], meter, loop.passes)

    def _batches(self, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        return list(batches([len(sequence) for sequence in sequences], batch_tokens(self.head)))

    def _shared(
        self,
        planned: Sequence[list[int]],
        work: Callable[[list[int]], list[T]],
        meter: Meter,
        units: int = 1,
    ) -> list[T]:
        """What `work` makes of the things whose indices are in the batches `planned`; a rank is given every so many batches."""
        found: dict[int, T] = {}
        size = self.ranks.size
        for first in range(0, len(planned), size):
            # Where batches run out, a rank repeats one: all must pass through the layers equally often.
            mine = planned[min(first + self.ranks.rank, len(planned) - 1)]
            found.update(zip(mine, work(mine), strict=True))
            meter.advance(units * sum(map(len, planned[first : first + size])))
        for part in self.ranks.gather(found):
            found |= part
        return [found[index] for index in sorted(found)]


class SharedStep(WatchedTrainer):
    """A step whose batch is dealt out over ranks: one denominator, one verdict on the loss, one gradient."""

    divides = False  # a rank that computed its share in more portions than the others would wait for them forever

    def __init__(self, *args: Any, ranks: Ranks, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ranks = ranks

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        tokens = self._ranks.total(trained_tokens(inputs))
        failure: RunError | None = None
        loss = None
        try:
            loss = super().compute_loss(model, inputs, return_outputs, tokens)
        except RunError as error:
            failure = error
        # A rank that stopped alone would leave the others waiting for its gradient.
        failures = self._ranks.total(torch.tensor(float(failure is not None), device=self._ranks.device))
        if failures:
            raise failure or RunError(f"another rank's loss is not finite at step {self.state.global_step + 1}")
        return loss

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, *args, **kwargs)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([_gradient(parameter).flatten() for parameter in trained])
        parts = self._ranks.total(flat).split([parameter.numel() for parameter in trained])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return self._ranks.total(loss.clone())


def shard(base: Any, ranks: Ranks) -> None:
    """Split the decoder layers of a model, on the CPU so far, over `ranks`; what stays whole moves to the device.

    Adapters that are put on it later belong to no shard, so they are whole. The backbone is the outermost part that is
    split, because it is what `Head` calls.
    """
    base.requires_grad_(False)
    head = base.get_output_embeddings()
    whole = set(head.parameters()) if head is not None else set()
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for layer in _layers(base):
        fully_shard(layer, mesh=mesh, ignored_params=whole & set(layer.parameters()))
    fully_shard(base.base_model, mesh=mesh, ignored_params=whole & set(base.base_model.parameters()))
    for parameter in whole:
        parameter.data = parameter.data.to(ranks.device)
    for module in base.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(ranks.device)


def together(steps: Sequence[StepStatistics], ranks: Ranks) -> list[StepStatistics]:
    """Each step's statistics over the tokens of all ranks."""
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


def _layers(base: Any) -> list[torch.nn.Module]:
    """The decoder layers: what transformers says may not be split further."""
    names = set(getattr(base, "_no_split_modules", None) or ())
    found = [module for module in base.modules() if type(module).__name__ in names]
    if not found:
        raise RunError(
            f"{type(base).__name__} does not say which of its modules are layers; it cannot be split over ranks"
        )
    return found
