"""One supervised pass with TRL's `SFTTrainer` over rows whose order, masks and epochs are already fixed.

The loss is TRL's, sum of -log p over the trained tokens / their number, both weighted where documents have weights, or what the
recipe's `[anchor]` makes of it, taken
through the fused LM head (`objective`): logits are not in memory, only tokens that are trained on are scored, and what the
head knows of each of them is there without another pass. Where there is a reference, it sees each portion first.
A batch that memory does not hold is computed in portions; a loss or gradient that is not finite stops before its step.
What TRL and transformers leave behind on a resident model (a patched `forward`, training mode) is taken off again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from autophage.data.mix import AnyRow
from autophage.errors import RunError
from autophage.host.devices import give_back_memory, out_of_memory
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import AnchorTable
from autophage.store.broken import BrokenDocument
from autophage.store.training import StepStatistics
from autophage.trainer.objective import Columns, Referred, token_losses
from autophage.trainer.optimizer import optimizer_bytes, restore_optimizer
from autophage.trainer.portions import (
    IGNORED,
    PER_DOCUMENT,
    Example,
    Portion,
    collate,
    examples,
    of_tokens,
    portions,
    token_weights,
    trained_tokens,
)
from autophage.trainer.reference import Reference
from autophage.trainer.variants import Variant

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NotFiniteError(RunError):
    """A loss or a gradient of `step` is NaN or infinite; `batch` is what it was computed from. Crosses no process as it is."""

    def __init__(self, message: str, step: int, batch: Sequence[BrokenDocument]) -> None:
        super().__init__(message)
        self.step, self.batch = step, batch


def run_sft(
    variant: Variant,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[AnyRow],
    recipe: Recipe,
    seed: int,
    meter: Meter,
    observe: Callable[[StepStatistics], None],
    optimizer: bytes | None,
    portion: Portion,
    reference: Reference | None = None,
    make: Callable[..., WatchedTrainer] | None = None,
) -> bytes | None:
    """Train what of a model is live, in place: one pass over `rows`, AdamW fresh or as `optimizer` has it, seeded generators.

    Returns the optimizer's state where the recipe carries it on. `portion` says how much of a batch memory holds, and is
    changed where it turns out to hold less. `reference` is what the recipe's `[anchor]` looks at, where it does.

    Raises:
        NotFiniteError: a loss or gradient that is not finite, before the optimizer step that would spread it.
        RunError: memory does not hold a single document.
    """
    model = variant.model
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    _take_off(model, base)
    with tempfile.TemporaryDirectory(prefix="autophage-sft-") as scratch:
        trainer = (make or WatchedTrainer)(
            model,
            variant=variant,
            anchor=recipe.anchor,
            reference=reference,
            observe=observe,
            moments=optimizer,
            portion=portion,
            args=_arguments(recipe, len(rows), seed, scratch, model.device, base.dtype),
            rows=rows,
            processing_class=tokenizer,
            callbacks=[ReportSteps(meter)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
        carried = (
            optimizer_bytes(trainer.optimizer, variant.parameters) if recipe.train.optimizer == "carried" else None
        )
    # SFTTrainer wraps the base model's forward each time it is built; left on, a thousand generations nest a thousand deep.
    _take_off(model, base)
    model.eval()
    return carried


def _take_off(*modules: Any) -> None:
    """Undo what SFTTrainer and accelerate put on a model: a wrapped forward, and the mark that it is there already."""
    for module in modules:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            module.__dict__.pop(name, None)


class Examples(torch.utils.data.Dataset[Example]):
    """Rows as TRL's collator takes them: token ids, and as labels those of them that carry loss."""

    def __init__(self, rows: Sequence[AnyRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Example:
        row = self._rows[place]
        labels = [IGNORED] * row.context + row.token_ids[row.context :]
        return {"input_ids": row.token_ids, "labels": labels, "synthetic": row.synthetic, "weight": row.weight}


_PLACEHOLDER = Dataset.from_dict({"input_ids": [[0]], "labels": [[0]]})
"""SFTTrainer wants a dataset of that kind to look at its columns; what it trains on comes from its data loader."""


class WatchedTrainer(SFTTrainer):
    """SFTTrainer with the loss of the fused head, which stops at one that is not finite instead of training on it."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]  # divided by the tokens of all portions already
    divides = True
    """Whether a batch may be computed in portions."""

    def __init__(
        self,
        *args: Any,
        variant: Variant,
        anchor: AnchorTable,
        reference: Reference | None,
        rows: Sequence[AnyRow],
        observe: Callable[[StepStatistics], None],
        moments: bytes | None,
        portion: Portion,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, train_dataset=_PLACEHOLDER, **kwargs)  # type: ignore[misc]  # no caller gives another
        self._rows = rows
        self._variant = variant
        self._anchor = anchor
        self._reference = reference
        self._observe = observe
        self._moments = moments
        self._portion = portion
        self._batch: dict[str, Any] = {}
        self._seen: list[Columns] = []

    def get_train_dataloader(self) -> Any:
        """Rows in their order, each read when its batch is due: the newest may still be on their way."""
        loader: Any = torch.utils.data.DataLoader(
            Examples(self._rows), self.args.per_device_train_batch_size, collate_fn=partial(collate, self.data_collator)
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._moments is not None:
            restore_optimizer(optimizer, self._variant.parameters, self._moments)
        return optimizer

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The gradient of one batch, in as large portions as memory holds; nothing of it is left from a try that failed."""
        self._batch = inputs
        if token_weights(inputs) is not None:
            num_items_in_batch = trained_tokens(inputs)
        while True:
            self._seen = []
            try:
                loss = self._gradient(model, inputs, num_items_in_batch)
            except (RuntimeError, MemoryError) as error:
                if not (self.divides and out_of_memory(error)):
                    raise
            else:
                self._observe(_means(self.state.global_step + 1, self._seen))
                return loss
            # Outside of `except`, whose traceback holds the tensors of the failed try.
            model.zero_grad()
            self._seen = []
            give_back_memory()
            self._portion.halve(len(examples(inputs)))

    def _gradient(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        if self._portion.rows is None:
            whole: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[no-untyped-call]
            return whole
        tokens = trained_tokens(inputs) if num_items_in_batch is None else num_items_in_batch
        rows = examples(inputs)
        losses = [
            super(WatchedTrainer, self).training_step(model, collate(self.data_collator, part), tokens)  # type: ignore[no-untyped-call]
            for part in portions(rows, self._portion.of(len(rows)))
        ]
        return torch.stack(losses).sum()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The last thing that is computed before the step: a finite loss may have a gradient that is not."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if norm is not None and not math.isfinite(float(norm)):
            raise self._not_finite("norm of the gradient", float(norm))
        return norm

    def _not_finite(self, what: str, value: float) -> NotFiniteError:
        step = self.state.global_step + 1
        return NotFiniteError(
            f"the {what} is {value:g} at step {step} of {self.state.max_steps}; "
            "stopped before the optimizer step. Lower train.learning_rate, or look at the corpus it was trained on.",
            step,
            _broken(self._batch, self._seen),
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels_BL = inputs["labels"][:, 1:]
        trained_BL = labels_BL != IGNORED
        given = {name: value for name, value in inputs.items() if name not in ("labels", *PER_DOCUMENT)}
        referred = None
        if self._reference is not None:
            # A context of its own: weights that autocast has rounded without a gradient would be used again below.
            with self.accelerator.autocast():
                referred = Referred(self._reference.head, self._reference.rows(given)[:, :-1][trained_BL])
        # TRL's forward is not called: the backbone is, and with it the precision that accelerate would have put around it.
        with self.accelerator.autocast():
            rows_BLX = self._variant.head.rows(given)
        losses = token_losses(
            self._anchor,
            self._variant.head,
            rows_BLX[:, :-1][trained_BL],
            labels_BL[trained_BL],
            of_tokens(inputs, "synthetic")[:, 1:][trained_BL],
            referred,
        )
        self._seen.append(losses.columns)
        loss_T, weights_BL = losses.loss, token_weights(inputs)
        if weights_BL is not None:
            loss_T = loss_T * weights_BL[:, 1:][trained_BL]
        tokens = trained_tokens(inputs) if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        loss = loss_T.sum() / torch.where(tokens > 0, tokens, 1).to(loss_T.device)
        if not torch.isfinite(loss.detach()).all():
            raise self._not_finite("training loss", float(loss.detach()))
        return (loss, {}) if return_outputs else loss


def _broken(inputs: dict[str, Any], seen: Sequence[Columns]) -> list[BrokenDocument]:
    """The documents of a batch, with what is known of their trained tokens so far."""
    known = iter([value for logprob, *_ in seen for value in logprob.tolist()])
    documents = []
    for row in examples(inputs):
        trained = [place > 0 and label != IGNORED for place, label in enumerate(row["labels"])]
        documents.append(
            BrokenDocument(row["input_ids"], trained, [next(known, None) if one else None for one in trained])
        )
    return documents


def _means(step: int, seen: Sequence[Columns]) -> StepStatistics:
    """Over the trained tokens of all portions of a batch."""
    logprob, entropy, varentropy, rank, *anchored = (torch.cat(columns).double() for columns in zip(*seen, strict=True))
    if not len(rank):  # a batch of rows without a token to train on
        return StepStatistics(step, 0, *(math.nan,) * 7)
    means = torch.stack([-logprob, entropy, varentropy, rank, (rank == 1).double(), *anchored]).mean(1).tolist()
    return StepStatistics(step, len(rank), *means)


class ReportSteps(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._meter.expect(state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._meter.advance()


def _arguments(
    recipe: Recipe, row_count: int, seed: int, scratch: str, device: torch.device, model_type: torch.dtype
) -> SFTConfig:
    train = recipe.train
    schedule = {"constant": "constant_with_warmup"}.get(train.schedule, train.schedule)
    on_gpu = device.type == "cuda"
    return SFTConfig(
        output_dir=scratch,
        per_device_train_batch_size=train.batch_size,
        num_train_epochs=1,
        learning_rate=train.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=round(train.warmup * math.ceil(row_count / train.batch_size)),
        weight_decay=train.weight_decay,
        seed=seed % 2**32,
        data_seed=seed % 2**32,
        train_sampling_strategy="sequential",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=_padding_free(recipe, device),
        bf16=on_gpu and model_type is torch.bfloat16,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
    )


def _padding_free(recipe: Recipe, device: torch.device) -> bool:
    """Without a variable-length attention kernel a flattened batch costs a dense mask, quadratic in its length."""
    if recipe.train.packing == "auto":
        return device.type == "cuda" and is_flash_attn_2_available()
    return recipe.train.packing == "padding-free"
