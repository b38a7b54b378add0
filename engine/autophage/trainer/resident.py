"""The resident model: one base in memory, and the variants of it that arms train.

A `Variant` is an adapter of one rank, or all weights. It is created when the first arm needs it. One variant is live at
a time. No adapter is merged into the base. The base is model 0 of every arm, and a merge would add rounding.

`fit` is a pure function of its request. The generators are seeded, and nothing else is carried over. A trainer that has
served other arms returns the same bits as a new one. The caller decides the order of the rows. TRL's `SFTTrainer` trains.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import safetensors.torch
import torch

from autophage.data.mix import TrainingRow
from autophage.data.tokens import load_tokenizer
from autophage.errors import RunError
from autophage.host.devices import element_type
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.seeds import derive
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights
from autophage.trainer.fit import FitRequest, Fitted
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.inner_loop import InnerLoop
from autophage.trainer.loading import load_model
from autophage.trainer.micro_batches import MicroBatchSize
from autophage.trainer.onednn import use_onednn
from autophage.trainer.reference import Reference, load_teacher
from autophage.trainer.scoring import score, score_choices
from autophage.trainer.sft import run_sft
from autophage.trainer.trainable import adapter_config, adapters_refused, linear_layers
from autophage.trainer.variants import Tensors, Variant, full_variant, leave_inputs, lora_variant, narrower, to_bytes

Slot = tuple[int, float]
"""Key of a variant: its LoRA rank and alpha."""
FULL: Slot = (0, 0.0)
"""Key of the variant that trains all weights."""


class ResidentModel:
    """A base model that stays in memory between generations, with its variants: LoRA adapters or all weights."""

    def __init__(self, path: str, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.tokenizer = load_tokenizer(path)
        self._base = self._load_base(path)
        self.config, self.generation_config = self._base.config, self._base.generation_config
        self.parameters = self._base.num_parameters()
        self.micro_batch = MicroBatchSize()
        # Read before LoRA adds its layers to the names.
        self._linear = linear_layers(self._base)
        self._parameters: Tensors = {name: tensor.detach() for name, tensor in self._base.named_parameters()}
        self._untrained: Tensors = {}
        self._adapted: Any = None
        self._adapted_head: LanguageHead | None = None
        self._adapters: dict[Slot, str] = {}
        self._variants: dict[Slot, Variant] = {}
        self._initial: dict[tuple[Slot, int], Weights] = {}
        self._teachers: dict[str, Reference] = {}
        self._live = self._activate(_slot(recipe))

    def _load_base(self, path: str) -> Any:
        return load_model(path, element_type(self.recipe.model.dtype))

    @property
    def layout(self) -> str | None:
        """The division of the model over GPUs, in words; None on one device."""
        return None

    @property
    def live(self) -> Variant:
        """The variant (an adapter or all weights) that was loaded last."""
        return self._live

    @property
    def model(self) -> Any:
        return self._live.model

    @property
    def head(self) -> LanguageHead:
        return self._live.head

    def base_weights(self, recipe: Recipe | None = None) -> Weights:
        """Return model 0 of a recipe: an adapter with B = 0, or a reference to the base model.

        None is the recipe of the run. The loaded weights stay loaded.
        """
        recipe = self.recipe if recipe is None else recipe
        slot = _slot(recipe)
        if slot == FULL:
            return Weights(b"", self._variant(FULL).config, "full", self._base_digest)
        if (slot, recipe.seed) not in self._initial:
            self._initial[slot, recipe.seed] = self._new_adapter_weights(slot, recipe.seed)
        return self._initial[slot, recipe.seed]

    def load(self, weights: Weights) -> None:
        """Load `weights` into the model, rounded to the type in which the sampler serves them."""
        self._load(weights, rounded=True)

    def fit(self, request: FitRequest) -> Fitted:
        """Train on the rows of a request. Return the trained weights, which stay loaded, with statistics of each step.

        The learning rate runs through its whole schedule in each fit, even with a carried optimizer.

        Raises:
            NotFiniteError: a loss or gradient is not finite.
            RunError: a trained weight is not finite, or memory does not hold a single document.
        """
        self._load(request.start, rounded=False)
        steps: list[StepStatistics] = []
        optimizer = request.optimizer
        if request.rows:
            steps, optimizer = self._train(request)
        if not torch.stack([torch.isfinite(tensor).all() for tensor in self._live.parameters.values()]).all():
            raise RunError(
                "training left NaN or infinity in the weights; nothing was committed. Lower train.learning_rate."
            )
        return Fitted(self._live.take(), steps, optimizer)

    def _train(self, request: FitRequest) -> tuple[list[StepStatistics], bytes | None]:
        return run_sft(self._live, self.tokenizer, request, self.micro_batch, self.reference(request.recipe))

    def reference(self, recipe: Recipe) -> Reference | None:
        """Return the reference model of a recipe's `[anchor]`; None if its loss needs none.

        A loaded teacher stays in memory.

        Raises:
            UserError: the teacher cannot be loaded, or has another vocabulary.
        """
        if not recipe.refers:
            return None
        path = recipe.anchor.reference
        if path == BASE:
            if self._adapted_head is not None:
                return Reference(self._adapted_head, adapted=True)
            return Reference(find_head(self._base))
        if path not in self._teachers:
            vocabulary = int(self.config.get_text_config().vocab_size)
            self._teachers[path] = load_teacher(path, self.tokenizer, vocabulary, element_type(self.recipe.model.dtype))
        return self._teachers[path]

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        contexts: Sequence[int],
        meter: Meter | None = None,
    ) -> list[Scored]:
        """Return full-vocabulary statistics of the tokens `sequences[i][contexts[i]:]` for each i, in order.

        Sequences are token ids. Statistics are under the loaded weights.
        """
        return score(self.head, sequences, contexts, meter or Meter())

    def score_choices(
        self,
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Sequence[int]],
        meter: Meter | None = None,
    ) -> list[Scored]:
        """Return full-vocabulary statistics of each token id in `choices[i]` as the next token after `prompts[i]`.

        There is one result per prompt, in order.
        """
        return score_choices(self.head, prompts, choices, meter or Meter())

    def gains(
        self,
        weights: Weights,
        rows: Sequence[TrainingRow],
        held: Sequence[TrainingRow],
        steps: int,
        rate: float,
        meter: Meter | None = None,
    ) -> list[float]:
        """Return the fall of the loss on `held` (nats a token) after gradient steps on each row alone, in order.

        Each row starts from `weights` and gets `steps` steps at learning rate `rate`. `weights` are loaded afterwards.
        `meter` counts read sequences, those of steps too.
        """
        self._load(weights, rounded=False)
        try:
            loop = InnerLoop(self._live, held, steps, rate)
            meter = meter or Meter()
            meter.advance(len(held))
            return self._gains(loop, rows, meter)
        finally:
            self.load(weights)

    def _gains(self, loop: InnerLoop, rows: Sequence[TrainingRow], meter: Meter) -> list[float]:
        found = []
        for row in rows:
            found.append(loop.gain(row))
            meter.advance(loop.passes)
        return found

    def tensors(self, weights: Weights) -> Tensors:
        """Return the tensors of `weights` by stored name; for a reference to the base model, the base model's own."""
        return self._untrained if weights.reference else safetensors.torch.load(weights.tensors)

    def _load(self, weights: Weights, *, rounded: bool) -> None:
        self._live = self._activate(_slot_of(weights))
        self._live.put(self.tensors(weights), rounded=rounded)

    def _activate(self, slot: Slot) -> Variant:
        variant = self._variant(slot)
        if slot != FULL:
            self._adapted.set_adapter(self._adapters[slot])
        return variant

    def _variant(self, slot: Slot) -> Variant:
        if slot not in self._variants:
            if slot == FULL:
                dtype = element_type(self.recipe.model.dtype)
                self._variants[slot], self._untrained = full_variant(self.path, self._parameters, dtype)
                self._speed_up(self._variants[slot].model)
            else:
                self._make_adapter(slot, self.recipe.seed)
            # SFTTrainer collects garbage in every train(). Frozen objects are not walked again.
            gc.collect()
            gc.freeze()
        return self._variants[slot]

    def _make_adapter(self, slot: Slot, seed: int) -> None:
        self._adapters[slot] = self._add_adapter(slot, seed, f"adapter-{len(self._adapters):04d}")
        assert self._adapted_head is not None
        self._variants[slot] = lora_variant(self._adapted, self._adapters[slot], self._adapted_head)
        self._initial[slot, seed] = self._variants[slot].take()

    def _new_adapter_weights(self, slot: Slot, seed: int) -> Weights:
        """Return the untrained weights of an adapter with this rank and alpha, as if it were the first of them.

        The variant that was loaded before stays loaded.
        """
        live = self._live
        self._variant(slot)
        if (slot, seed) not in self._initial:
            name = self._add_adapter(slot, seed, "fresh")
            assert self._adapted_head is not None
            self._initial[slot, seed] = lora_variant(self._adapted, name, self._adapted_head).take()
            self._activate(slot)
            self._adapted.delete_adapter(name)
        if live.method == "lora":
            self._activate(next(slot for slot, variant in self._variants.items() if variant is live))
        return self._initial[slot, seed]

    def _add_adapter(self, slot: Slot, seed: int, name: str) -> str:
        from peft import get_peft_model

        config = adapter_config(self._linear, *slot)
        torch.manual_seed(derive(seed, "adapter"))
        with adapters_refused(self.path):
            if self._adapted is None:
                self._adapted = get_peft_model(self._base, config, adapter_name=name)
            else:
                self._adapted.add_adapter(name, config)
        # A new layer begins in training mode, and puts what it wraps into it: dropout would act while texts are scored.
        self._adapted.eval()
        if self._adapted_head is None:
            leave_inputs(self._adapted)
            self._adapted_head = find_head(self._adapted, narrower(self._base.dtype))
            self._speed_up(self._adapted)
        return name

    def _speed_up(self, model: Any) -> None:
        """Compute the products of a model by oneDNN. A compiled model has products of its own."""
        if not self.recipe.train.compile:
            use_onednn(model)

    @cached_property
    def _base_digest(self) -> str:
        """SHA-256 of the base weights in float32, equal to that of a full-weight arm before its first step."""
        return hashlib.sha256(to_bytes(self._untrained)).hexdigest()


def _slot(recipe: Recipe) -> Slot:
    return FULL if recipe.model.method == "full" else (recipe.model.rank, float(recipe.model.scale_numerator))


def _slot_of(weights: Weights) -> Slot:
    return FULL if weights.method == "full" else (weights.config["r"], float(weights.config["lora_alpha"]))
