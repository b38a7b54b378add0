"""One supervised pass with TRL's `SFTTrainer` over rows whose order, masks and epochs are already fixed.

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

from autophage.data.mix import Row
from autophage.errors import RunError
from autophage.recipe.schema import Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

IGNORED = -100


def run_sft(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None],
) -> None:
    """Train the adapter of `model` in place: one pass over `rows`, fresh AdamW, seeded generators.

    Raises:
        RunError: a loss that is not finite, before the optimizer step that would spread it.
    """
    base: Any = model.get_base_model()
    _take_off(model, base)
    with tempfile.TemporaryDirectory(prefix="autophage-sft-") as scratch:
        trainer = CheckedTrainer(
            model,
            args=_arguments(recipe, len(rows), seed, scratch, model.device, base.dtype),
            train_dataset=_dataset(rows),
            processing_class=tokenizer,
            callbacks=[ReportSteps(progress)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
    # SFTTrainer wraps the base model's forward each time it is built; left on, a thousand generations nest a thousand deep.
    _take_off(model, base)
    model.eval()


def _take_off(*modules: Any) -> None:
    """Undo what SFTTrainer and accelerate put on a model: a wrapped forward, and the mark that it is there already."""
    for module in modules:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            module.__dict__.pop(name, None)


class CheckedTrainer(SFTTrainer):
    """SFTTrainer that stops at a loss which is not finite instead of training on it."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().compute_loss(*args, **kwargs)  # type: ignore[no-untyped-call]
        if not torch.isfinite(loss.detach()).all():
            raise RunError(
                f"the training loss is {float(loss.detach()):g} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                "stopped before the optimizer step. Lower train.learning_rate, or look at the corpus it was trained on."
            )
        return loss


class ReportSteps(TrainerCallback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress(state.global_step, state.max_steps)


def _dataset(rows: Sequence[Row]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [row.token_ids for row in rows],
            "labels": [[IGNORED] * row.context + row.token_ids[row.context :] for row in rows],
        }
    )


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
