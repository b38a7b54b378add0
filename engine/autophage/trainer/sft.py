"""One supervised pass with TRL's `SFTTrainer` over rows whose order, masks and epochs are already fixed.

The loss is TRL's, sum of -log p over the trained tokens / their number, taken through the fused LM head: logits are not in
memory, only tokens that are trained on are scored, and what the head knows of each of them is there without another pass.
What TRL and transformers leave behind on a resident model (a patched `forward`, training mode) is taken off again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from autophage.data.mix import AnyRow
from autophage.errors import RunError
from autophage.recipe.schema import Recipe
from autophage.store.training import StepStatistics
from autophage.trainer.optimizer import optimizer_bytes, restore_optimizer
from autophage.trainer.variants import Variant

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from autophage_kernels import TokenStats

IGNORED = -100
WATCHED = ("logprob", "entropy", "varentropy", "rank")


def run_sft(
    variant: Variant,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[AnyRow],
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None],
    observe: Callable[[StepStatistics], None],
    optimizer: bytes | None,
    make: Callable[..., WatchedTrainer] | None = None,
) -> bytes | None:
    """Train what of a model is live, in place: one pass over `rows`, AdamW fresh or as `optimizer` has it, seeded generators.

    Returns the optimizer's state where the recipe carries it on.

    Raises:
        RunError: a loss that is not finite, before the optimizer step that would spread it.
    """
    model = variant.model
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    _take_off(model, base)
    with tempfile.TemporaryDirectory(prefix="autophage-sft-") as scratch:
        trainer = (make or WatchedTrainer)(
            model,
            variant=variant,
            observe=observe,
            moments=optimizer,
            args=_arguments(recipe, len(rows), seed, scratch, model.device, base.dtype),
            rows=rows,
            processing_class=tokenizer,
            callbacks=[ReportSteps(progress)],
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


class Examples(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Rows as TRL's collator takes them: token ids, and as labels those of them that carry loss."""

    def __init__(self, rows: Sequence[AnyRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        row = self._rows[place]
        return {"input_ids": row.token_ids, "labels": [IGNORED] * row.context + row.token_ids[row.context :]}


_PLACEHOLDER = Dataset.from_dict({"input_ids": [[0]], "labels": [[0]]})
"""SFTTrainer wants a dataset of that kind to look at its columns; what it trains on comes from its data loader."""


class WatchedTrainer(SFTTrainer):
    """SFTTrainer with the loss of the fused head, which stops at one that is not finite instead of training on it."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]  # divided by the tokens of all micro-batches already

    def __init__(
        self,
        *args: Any,
        variant: Variant,
        rows: Sequence[AnyRow],
        observe: Callable[[StepStatistics], None],
        moments: bytes | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, train_dataset=_PLACEHOLDER, **kwargs)  # type: ignore[misc]  # no caller gives another
        self._rows = rows
        self._variant = variant
        self._observe = observe
        self._moments = moments

    def get_train_dataloader(self) -> Any:
        """Rows in their order, each read when its batch is due: the newest may still be on their way."""
        loader: Any = torch.utils.data.DataLoader(
            Examples(self._rows), self.args.per_device_train_batch_size, collate_fn=self.data_collator
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._moments is not None:
            restore_optimizer(optimizer, self._variant.parameters, self._moments)
        return optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels_BL = inputs["labels"][:, 1:]
        trained_BL = labels_BL != IGNORED
        # TRL's forward is not called: the backbone is, and with it the precision that accelerate would have put around it.
        with self.accelerator.autocast():
            rows_BLX = self._variant.head.rows({name: value for name, value in inputs.items() if name != "labels"})
        stats = self._variant.head.stats(rows_BLX[:, :-1][trained_BL], labels_BL[trained_BL], WATCHED)
        assert stats.logprob is not None
        tokens = trained_BL.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        loss = -stats.logprob.sum() / tokens.clamp(min=1).to(stats.logprob.device)
        if not torch.isfinite(loss.detach()).all():
            raise RunError(
                f"the training loss is {float(loss.detach()):g} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                "stopped before the optimizer step. Lower train.learning_rate, or look at the corpus it was trained on."
            )
        self._observe(_means(self.state.global_step + 1, stats))
        return (loss, {}) if return_outputs else loss


def _means(step: int, stats: TokenStats) -> StepStatistics:
    columns = (stats.logprob, stats.entropy, stats.varentropy, stats.rank)
    logprob, entropy, varentropy, rank = (column.detach().double() for column in columns if column is not None)
    if not len(rank):  # a batch of rows without a token to train on
        return StepStatistics(step, 0, *(math.nan,) * 5)
    means = torch.stack([-logprob, entropy, varentropy, rank, (rank == 1).double()]).mean(1).tolist()
    return StepStatistics(step, len(rank), *means)


class ReportSteps(TrainerCallback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress(state.global_step, state.max_steps)


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
