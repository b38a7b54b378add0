"""One supervised pass with TRL's `SFTTrainer` over rows with fixed order, masks and epochs.

The loss is TRL's: the sum of -log p over the trained tokens, divided by their number. Document weights enter both.
The recipe's `[anchor]` may change the loss of a token. `objective` computes it through the fused LM head.
Logits never exist as a whole, and only trained tokens are scored. The statistics of each token need no second pass.

- A batch that does not fit into memory is computed in micro-batches.
- A loss or gradient that is not finite stops before its optimizer step.
- A step waits for its device once, for that check. Statistics are read after the last step.
- Patches that TRL and transformers leave on a resident model are removed after the pass.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from autophage.data.mix import AnyRow
from autophage.errors import RunError
from autophage.host.devices import give_back_memory, out_of_memory
from autophage.recipe.schema import Recipe
from autophage.store.broken import BrokenDocument
from autophage.store.training import StepStatistics
from autophage.trainer.attention import has_variable_length
from autophage.trainer.fit import FitRequest, Share
from autophage.trainer.layers import compiled
from autophage.trainer.micro_batches import IGNORED, OWN, Example, MicroBatchSize, collate, micro_batches
from autophage.trainer.objective import Columns, Referred, token_losses
from autophage.trainer.optimizer import optimizer_bytes, restore_optimizer
from autophage.trainer.reference import Reference
from autophage.trainer.rows import at, without_mask
from autophage.trainer.variants import Variant

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NotFiniteError(RunError):
    """A loss or gradient is NaN or infinite. The error does not pickle: it stays inside one process."""

    def __init__(self, message: str, step: int, batch: Sequence[BrokenDocument]) -> None:
        """Take the documents `batch` of the optimizer step `step`, which counts from 1."""
        super().__init__(message)
        self.step, self.batch = step, batch


def run_sft(
    variant: Variant,
    tokenizer: PreTrainedTokenizerBase,
    request: FitRequest,
    micro_batch: MicroBatchSize,
    reference: Reference | None = None,
    share: Share | None = None,
    make: Callable[..., WatchedTrainer] | None = None,
) -> tuple[list[StepStatistics], bytes | None]:
    """Train the live weights of `variant` in place on the rows of `request`, with seeded generators.

    Args:
        micro_batch: Number of documents that memory holds. It shrinks if they turn out to be too many.
        reference: The model of the recipe's `[anchor]`, if it has one.
        share: The rows that this process computes; all rows if None.
        make: Builds the trainer; `WatchedTrainer` if None.

    Returns:
        Statistics of each optimizer step, and the AdamW state as bytes if the recipe carries it on, else None.

    Raises:
        NotFiniteError: a loss or gradient is not finite. The optimizer step is not taken.
        RunError: memory does not hold a single document.
    """
    model = variant.model
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    share = share or request.whole
    _remove_patches(model, base)
    with tempfile.TemporaryDirectory(prefix="autophage-sft-") as scratch:
        trainer = (make or WatchedTrainer)(
            model,
            variant=variant,
            request=request,
            share=share,
            reference=reference,
            micro_batch=micro_batch,
            args=_arguments(request, share, scratch, base),
            processing_class=tokenizer,
            callbacks=[StepEnded(request)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        with compiled(base) if request.recipe.train.compile else nullcontext():
            trainer.train()
        carried = request.recipe.train.optimizer == "carried"
        optimizer = optimizer_bytes(trainer.optimizer, variant.parameters) if carried else None
    # Each SFTTrainer wraps the base model's forward. Without this a thousand generations nest a thousand wrappers.
    _remove_patches(model, base)
    model.eval()
    return trainer.statistics(), optimizer


def _remove_patches(*modules: Any) -> None:
    """Remove the wrapped `forward` of SFTTrainer and accelerate, and the mark that it is there."""
    for module in modules:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            module.__dict__.pop(name, None)


class Examples(torch.utils.data.Dataset[Example]):
    """Training rows as TRL's collator takes them. Labels are the token ids, `IGNORED` in the context."""

    def __init__(self, rows: Sequence[AnyRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Example:
        row = self._rows[place]
        labels = [IGNORED] * row.context + row.token_ids[row.context :]
        return {"input_ids": row.token_ids, "labels": labels, "synthetic": row.synthetic, "weight": row.weight}


_PLACEHOLDER = Dataset.from_dict({"input_ids": [[0]], "labels": [[0]]})
"""SFTTrainer inspects the columns of a dataset. The rows come from `get_train_dataloader`."""


class WatchedTrainer(SFTTrainer):
    """SFTTrainer with the loss of the fused head. It stops at a loss that is not finite."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]  # divided by the tokens of all micro-batches already
    divides = True
    """True if a batch may be computed in micro-batches."""

    def __init__(
        self,
        *args: Any,
        variant: Variant,
        request: FitRequest,
        share: Share,
        reference: Reference | None,
        micro_batch: MicroBatchSize,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, train_dataset=_PLACEHOLDER, **kwargs)  # type: ignore[misc]  # no caller gives another
        self._variant = variant
        self._request = request
        self._rows = share.rows
        self._reference = reference
        self._micro_batch = micro_batch
        self._batch: Sequence[Example] = ()
        self._seen: list[Columns] = []
        self._loss = torch.tensor(math.nan)
        self._means: list[tuple[int, torch.Tensor]] = []

    def get_train_dataloader(self) -> Any:
        """Return a loader of batches that keeps the order of the rows.

        A row is read when its batch is due: its sample may not be written before.
        """
        loader: Any = torch.utils.data.DataLoader(
            Examples(self._rows),
            self.args.per_device_train_batch_size,
            collate_fn=partial(collate, self.data_collator),
            pin_memory=self.args.device.type == "cuda",
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._request.optimizer is not None:
            restore_optimizer(optimizer, self._variant.parameters, self._request.optimizer)
        return optimizer

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Add the gradient of one batch and return its loss, in the largest micro-batches that memory holds.

        An attempt that runs out of memory leaves no gradient and no statistics behind.
        """
        self._batch = inputs["documents"].rows
        tokens = self._tokens(inputs)
        while True:
            self._seen = []
            try:
                self._loss = self._gradient(model, inputs, tokens)
            except (RuntimeError, MemoryError) as error:
                if not (self.divides and out_of_memory(error)):
                    raise
            else:
                self._means.append(_means(self._seen))
                return self._loss
            # Outside of `except`: the traceback there holds the tensors of the failed attempt.
            model.zero_grad()
            self._seen = []
            give_back_memory()
            self._micro_batch.halve(len(self._batch))

    def _tokens(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the number of trained tokens of an optimizer step, a scalar on the device."""
        tokens: torch.Tensor = inputs["tokens"]
        return tokens

    def _gradient(self, model: Any, inputs: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
        if self._micro_batch.rows is None:
            whole: torch.Tensor = super().training_step(model, inputs, tokens)  # type: ignore[no-untyped-call]
            return whole
        losses = [
            super(WatchedTrainer, self).training_step(model, collate(self.data_collator, part), tokens)  # type: ignore[no-untyped-call]
            for part in micro_batches(self._batch, self._micro_batch.of(len(self._batch)))
        ]
        return torch.stack(losses).sum()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm of the gradient, or raise `NotFiniteError` if the norm or the loss is not finite.

        A finite loss may have a gradient that is not. This runs last before the optimizer step. Both values come from
        the device at once: it is the only time that a step waits for it.
        """
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        self._require_finite(torch.as_tensor(norm, device=self._loss.device))
        return norm

    def _require_finite(self, norm: torch.Tensor) -> None:
        self._judge(*torch.stack([self._loss, norm]).tolist())

    def _judge(self, loss: float, norm: float) -> None:
        for what, value in (("training loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(value):
                raise self._not_finite(what, value)

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
        tokens = inputs["tokens"] if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        given = without_mask({name: value for name, value in inputs.items() if name not in OWN})
        places_T = inputs["places"]
        referred = None
        if self._reference is not None:
            # A context of its own: autocast would reuse the weights that it casts here without a gradient.
            with self.accelerator.autocast():
                referred = Referred(self._reference.head, at(self._reference.rows(given), places_T))
        # The backbone is called, not TRL's forward. Accelerate's precision is therefore set here.
        with self.accelerator.autocast():
            rows_BLX = self._variant.head.rows(given)
        losses = token_losses(
            self._request.recipe.anchor,
            self._variant.head,
            at(rows_BLX, places_T),
            inputs["targets"],
            inputs["synthetic"],
            referred,
        )
        self._seen.append(losses.columns)
        loss_T = losses.loss * inputs["weights"] if "weights" in inputs else losses.loss
        loss = loss_T.sum() / torch.where(tokens > 0, tokens, 1).to(loss_T.device)
        return (loss, {}) if return_outputs else loss

    def statistics(self) -> list[StepStatistics]:
        """Return the averages of the watched values over each optimizer step so far."""
        table_SX = torch.stack([means for _, means in self._means]).tolist() if self._means else []
        counts = [tokens for tokens, _ in self._means]
        return [
            StepStatistics(step, tokens, *values)
            for step, (tokens, values) in enumerate(zip(counts, table_SX, strict=True), 1)
        ]


def _broken(rows: Sequence[Example], seen: Sequence[Columns]) -> list[BrokenDocument]:
    """Return the documents of a batch with the log-probs of their trained tokens; None where none was computed."""
    known = iter([value for logprob, *_ in seen for value in logprob.tolist()])
    documents = []
    for row in rows:
        trained = [place > 0 and label != IGNORED for place, label in enumerate(row["labels"])]
        documents.append(
            BrokenDocument(row["input_ids"], trained, [next(known, None) if one else None for one in trained])
        )
    return documents


def _means(seen: Sequence[Columns]) -> tuple[int, torch.Tensor]:
    """Average the watched values over the trained tokens of all micro-batches of a step.

    Return the number of tokens, and the means on the device. They are NaN without a token.
    """
    logprob, entropy, varentropy, rank, *anchored = (torch.cat(columns).double() for columns in zip(*seen, strict=True))
    return len(rank), torch.stack([-logprob, entropy, varentropy, rank, (rank == 1).double(), *anchored]).mean(1)


class StepEnded(TrainerCallback):
    """Report each optimizer step to the meter and the hook of a request."""

    def __init__(self, request: FitRequest) -> None:
        self._request = request

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._request.meter.expect(state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._request.meter.advance(tokens=self._request.tokens(state.global_step))
        if self._request.after_step is not None:
            self._request.after_step(state.global_step, state.max_steps)


def _arguments(request: FitRequest, share: Share, scratch: str, base: Any) -> SFTConfig:
    train, seed = request.recipe.train, request.seed % 2**32
    schedule = {"constant": "constant_with_warmup"}.get(train.schedule, train.schedule)
    on_gpu = base.device.type == "cuda"
    return SFTConfig(
        output_dir=scratch,
        per_device_train_batch_size=share.batch_size,
        num_train_epochs=1,
        learning_rate=train.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=round(train.warmup * math.ceil(len(request.rows) / request.batch_size)),
        weight_decay=train.weight_decay,
        seed=seed,
        data_seed=seed,
        train_sampling_strategy="sequential",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=_padding_free(request.recipe, base),
        bf16=on_gpu and base.dtype is torch.bfloat16,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it reads each loss, which is checked with the gradient's norm
        accelerator_config={"non_blocking": on_gpu},
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
    )


def _padding_free(recipe: Recipe, base: Any) -> bool:
    """Return True if batches are flattened into one row instead of padded.

    Without a variable-length attention kernel that costs a dense, quadratic mask.
    """
    if recipe.train.packing == "auto":
        return has_variable_length(base)
    return recipe.train.packing == "padding-free"
