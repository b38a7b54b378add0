"""The resident model: one base in memory and what arms train of it, loaded, trained, read out and scored.

Arms may train adapters of different ranks, or all weights; each kind is a `Variant`, made when the first arm needs it,
and one is live at a time. Nothing is ever merged into the base: it is model 0 of every arm, and the rounding of a merge
would be part of what is studied.

`fit` is a pure function of (starting weights, rows in order, seed, settings, optimizer state): the generators are seeded
and nothing else is carried over, so a trainer that has served other arms gives the same bits as a new one. The order of
rows is the caller's. Training is TRL's `SFTTrainer`.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import safetensors.torch
import torch

from autophage.data.mix import AnyRow, TrainingRow
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
from autophage.trainer.head import Head, find_head
from autophage.trainer.inner_loop import InnerLoop
from autophage.trainer.loading import load_model
from autophage.trainer.portions import Portion
from autophage.trainer.reference import Reference, load_teacher
from autophage.trainer.scoring import score, score_choices
from autophage.trainer.sft import run_sft
from autophage.trainer.variants import Tensors, Variant, full_variant, lora_variant, to_bytes

Slot = tuple[int, float]
"""LoRA rank and alpha. All weights are (0, 0.0)."""
FULL: Slot = (0, 0.0)


@dataclass(frozen=True)
class Fitted:
    """Trained weights and, where the recipe carries it, the optimizer's state to go on with."""

    weights: Weights
    optimizer: bytes | None


class ResidentModel:
    """A base model kept in memory between generations, and the variants of it that arms train."""

    def __init__(self, path: str, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.tokenizer = load_tokenizer(path)
        self._base = self._load_base(path)
        self.config, self.generation_config = self._base.config, self._base.generation_config
        self.parameters = self._base.num_parameters()
        self.portion = Portion()
        # Taken before LoRA puts its layers between the names. Tied weights are there once.
        self._untrained: Tensors = {name: tensor.detach() for name, tensor in self._base.named_parameters()}
        self._adapted: Any = None
        self._adapted_head: Head | None = None
        self._adapters: dict[Slot, str] = {}
        self._variants: dict[Slot, Variant] = {}
        self._initial: dict[tuple[Slot, int], Weights] = {}
        self._teachers: dict[str, Reference] = {}
        self._live = self._activate(_slot(recipe))

    def _load_base(self, path: str) -> Any:
        return load_model(path, element_type(self.recipe.model.dtype))

    @property
    def live(self) -> Variant:
        """What was loaded last."""
        return self._live

    @property
    def model(self) -> Any:
        return self._live.model

    @property
    def head(self) -> Head:
        return self._live.head

    def base_weights(self, recipe: Recipe | None = None) -> Weights:
        """Model 0 as an arm with `recipe` starts from it: an adapter whose B is zero, or a reference to the base model.

        What is loaded stays loaded.
        """
        recipe = self.recipe if recipe is None else recipe
        slot = _slot(recipe)
        if slot == FULL:
            return Weights(b"", self._variant(FULL).config, "full", self._base_digest)
        if (slot, recipe.seed) not in self._initial:
            self._initial[slot, recipe.seed] = self._new_adapter_weights(slot, recipe.seed)
        return self._initial[slot, recipe.seed]

    def load(self, weights: Weights) -> None:
        """Compute with `weights` from now on, as the sampler does: rounded, where it rounds them."""
        self._load(weights, rounded=True)

    def fit(
        self,
        start: Weights,
        rows: Sequence[AnyRow],
        settings: Recipe,
        seed: int,
        meter: Meter,
        observe: Callable[[StepStatistics], None] = lambda _: None,
        optimizer: bytes | None = None,
    ) -> Fitted:
        """Train `start` on `rows` in the order given; the trained weights stay loaded.

        AdamW starts fresh, or from `optimizer`, the state that the fit before this one returned. The learning rate goes
        through its whole schedule in each fit, whatever is carried. `observe` is handed what the model made of each
        step's tokens.
        """
        self._load(start, rounded=False)
        state = optimizer
        if rows:
            state = self._train(rows, settings, seed, meter, observe, optimizer)
        if not all(torch.isfinite(tensor).all() for tensor in self._live.parameters.values()):
            raise RunError(
                "training left NaN or infinity in the weights; nothing was committed. Lower train.learning_rate."
            )
        return Fitted(self._live.take(), state)

    def _train(
        self,
        rows: Sequence[AnyRow],
        settings: Recipe,
        seed: int,
        meter: Meter,
        observe: Callable[[StepStatistics], None],
        optimizer: bytes | None,
    ) -> bytes | None:
        reference = self.reference(settings)
        return run_sft(
            self._live, self.tokenizer, rows, settings, seed, meter, observe, optimizer, self.portion, reference
        )

    def reference(self, settings: Recipe) -> Reference | None:
        """What training with these settings looks at beside the model; None where it looks at nothing.

        Raises:
            UserError: a teacher that cannot be loaded, or has another vocabulary. One that was loaded stays.
        """
        if not settings.refers:
            return None
        path = settings.anchor.reference
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
        """Full-vocabulary statistics of each sequence's tokens after its context, under the loaded weights."""
        return score(self.head, sequences, contexts, meter or Meter())

    def score_choices(
        self,
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Sequence[int]],
        meter: Meter | None = None,
    ) -> list[Scored]:
        """Full-vocabulary statistics of each of the tokens `choices[i]` as the one that follows `prompts[i]`."""
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
        """Nats a token that `held` loses by `steps` steps of gradient descent on each of `rows` alone, each from `weights`.

        `weights` are left loaded. `meter` counts sequences that were read, a step's among them.
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
        """The tensors that `weights` are or stand for, by name."""
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
                self._variants[slot] = full_variant(self.path, self._untrained, element_type(self.recipe.model.dtype))
            else:
                self._make_adapter(slot, self.recipe.seed)
            # SFTTrainer collects garbage on every train(); what lives forever need not be walked each time.
            gc.collect()
            gc.freeze()
        return self._variants[slot]

    def _make_adapter(self, slot: Slot, seed: int) -> None:
        self._adapters[slot] = self._add_adapter(slot, seed, f"adapter-{len(self._adapters):04d}")
        assert self._adapted_head is not None
        self._variants[slot] = lora_variant(self._adapted, self._adapters[slot], self._adapted_head)
        self._initial[slot, seed] = self._variants[slot].take()

    def _new_adapter_weights(self, slot: Slot, seed: int) -> Weights:
        """A fresh adapter of a seed, as if it were the first of its slot; whatever is live stays so."""
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
        from peft import LoraConfig, get_peft_model

        rank, alpha = slot
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(derive(seed, "adapter"))
        if self._adapted is None:
            self._adapted = get_peft_model(self._base, config, adapter_name=name)
            self._adapted_head = find_head(self._adapted)
        else:
            self._adapted.add_adapter(name, config)
        return name

    @cached_property
    def _base_digest(self) -> str:
        """The digest that the base model's weights have where an arm trains all of them and no step is taken."""
        return hashlib.sha256(to_bytes(self._untrained)).hexdigest()


def _slot(recipe: Recipe) -> Slot:
    return FULL if recipe.model.method == "full" else (recipe.model.rank, float(recipe.model.scale_numerator))


def _slot_of(weights: Weights) -> Slot:
    return FULL if weights.method == "full" else (weights.config["r"], float(weights.config["lora_alpha"]))
