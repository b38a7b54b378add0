"""The resident model: one base in memory, one LoRA slot, whose tensors are loaded, trained, read out and scored.

`fit` is a pure function of (starting adapter, rows in order, seed, settings): the optimizer starts fresh and the
generators are seeded, so a trainer that has served other arms gives the same bits as a new one. The order of rows is
the caller's. Training is TRL's `SFTTrainer`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from typing import Any

import safetensors.torch
import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from autophage.data.mix import Row
from autophage.data.tokens import first_line, load_tokenizer
from autophage.devices import device, element_type
from autophage.errors import RunError, UserError
from autophage.metrics.scored import Scored
from autophage.recipe.schema import Recipe
from autophage.seeds import derive
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights
from autophage.trainer.head import find_head
from autophage.trainer.scoring import score
from autophage.trainer.sft import run_sft

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class ResidentModel:
    """A base model with one LoRA adapter on all its linear layers, kept in memory between generations."""

    def __init__(self, path: str, recipe: Recipe) -> None:
        from peft import LoraConfig, get_peft_model

        self.path = path
        self.recipe = recipe
        self.tokenizer = load_tokenizer(path)
        base = self._load(path, recipe)
        self.parameters = base.num_parameters()
        config = LoraConfig(
            r=recipe.model.rank,
            lora_alpha=recipe.model.scale_numerator,  # type: ignore[arg-type]
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(derive(recipe.seed, "adapter"))
        self.model = get_peft_model(base, config)
        self._settle()
        self._initial = {name: tensor.clone() for name, tensor in self._tensors().items()}
        # SFTTrainer collects garbage on every train(); what lives forever need not be walked each time.
        gc.collect()
        gc.freeze()

    def _load(self, path: str, recipe: Recipe) -> Any:
        return load_model(path, element_type(recipe))

    def _settle(self) -> None:
        self._find_head()

    def _find_head(self) -> None:
        self.head = find_head(self.model)

    def base_weights(self) -> Weights:
        """The adapter before any training: B is zero, so it changes nothing. It serves as generation 0."""
        return self._pack(self._initial)

    def load(self, adapter: Weights) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, safetensors.torch.load(adapter.tensors))

    def fit(
        self,
        start: Weights,
        rows: Sequence[Row],
        settings: Recipe,
        seed: int,
        progress: Progress,
        observe: Callable[[StepStatistics], None] = lambda _: None,
    ) -> Weights:
        """Train `start` on `rows` in the order given; returns the trained adapter, which stays loaded.

        `observe` is handed what the model made of each step's tokens.
        """
        self.load(start)
        if rows:
            self._train(rows, settings, seed, progress, observe)
        tensors = self._tensors()
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise RunError(
                "training left NaN or infinity in the adapter; nothing was committed. Lower train.learning_rate."
            )
        return self._pack(tensors)

    def _train(
        self,
        rows: Sequence[Row],
        settings: Recipe,
        seed: int,
        progress: Progress,
        observe: Callable[[StepStatistics], None],
    ) -> None:
        run_sft(self.model, self.head, self.tokenizer, rows, settings, seed, progress, observe)

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        contexts: Sequence[int],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Scored]:
        """Full-vocabulary statistics of each sequence's tokens after its context, under the loaded adapter."""
        return score(self.head, sequences, contexts, progress)

    def _tensors(self) -> dict[str, torch.Tensor]:
        from peft import get_peft_model_state_dict

        state: dict[str, torch.Tensor] = get_peft_model_state_dict(self.model)
        return state

    def _pack(self, tensors: dict[str, torch.Tensor]) -> Weights:
        weights = {
            name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in sorted(tensors.items())
        }
        return Weights(safetensors.torch.save(weights), self._config())

    def _config(self) -> dict[str, Any]:
        config = self.model.peft_config["default"].to_dict()
        config["target_modules"] = sorted(config["target_modules"])
        config["inference_mode"] = True
        plain: dict[str, Any] = json.loads(json.dumps(config, default=str, sort_keys=True))
        return plain


def load_model(path: str, dtype: torch.dtype, where: torch.device | None = None) -> Any:
    """The causal language model of a folder or hub id, in evaluation mode on this process's device or `where` it is wanted.

    Raises:
        UserError: it cannot be loaded, or wants code of its own to be run.
    """
    disable_progress_bar()  # of the weights, over which a run's own view would have to be drawn
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"model {path!r}: cannot be loaded as a causal language model ({first_line(error)}). Give a folder with "
            "config.json and safetensors weights, or a hub id that is reachable or cached."
        ) from error
    return model.to(where or device()).eval()
