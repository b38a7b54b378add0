"""The size of the sampler's engine: lengths, adapters and memory for all arms that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autophage.errors import UserError
from autophage.host.devices import device, device_memory, element_type, limit_memory
from autophage.plan.footprint import demand
from autophage.plan.machines import here
from autophage.plan.memory import OWN_GPU_SHARE, RESERVE, ROOMY, Division, sampler_bytes, share_gpu, trainer_bytes
from autophage.plan.shape import configured_shape
from autophage.recipe.arms import Arm
from autophage.recipe.batching import MOST_MIXED, cohorts_of, is_continuous
from autophage.recipe.schema import Recipe
from autophage.sampler.protocol import EngineSettings
from autophage.stages.canary import Canary
from autophage.stages.examination import Examination
from autophage.stages.prompting import Prompting
from autophage.trainer.resident import ResidentModel


class Sizing:
    """Compute `EngineSettings` from a recipe, its arms and the loaded model."""

    def __init__(
        self,
        recipe: Recipe,
        resident: ResidentModel,
        prompting: Prompting,
        examination: Examination,
        canary: Canary,
    ) -> None:
        self._recipe = recipe
        self._resident = resident
        self._prompting = prompting
        self._examination = examination
        self._canary = canary

    def engine_settings(self, arms: Sequence[Arm]) -> EngineSettings:
        """Return the settings of an engine that can serve each of the arms.

        Raises:
            UserError: the model has too few positions, or the GPU too little memory.
        """
        recipe, config = self._recipe, self._resident.config.get_text_config()
        dtype = element_type(recipe.model.dtype)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        adapted = [arm for arm in arms if arm.recipe.model.method == "lora"]
        mixed = self._mixed(arms)
        longest = self._longest(arms)
        memory, sleeps = sampler_memory(recipe, self._resident.config.to_dict(), arms, mixed, device_bytes_here())
        return EngineSettings(
            model_path=self._resident.path,
            seed=recipe.seed,
            rank=max((arm.recipe.model.rank for arm in adapted), default=0),
            target_modules=self._target_modules(adapted[0]) if adapted else (),
            longest=longest,
            concurrency=recipe.sample.sequences,
            mixed=mixed,
            # The next batch's adapters are installed while a batch runs. An arm's old adapter leaves after its new one.
            adapters=2 * mixed + 2,
            dtype=str(dtype).removeprefix("torch."),
            device=device().type,
            memory=memory,
            sleeps=sleeps,
            kv_bytes_per_token=2 * config.num_hidden_layers * heads * head_size * dtype.itemsize,
            shares_device=recipe.devices != "disjoint",
            tensor_parallel=recipe.cluster.sampler_gpus,
            quantized=getattr(self._resident.config, "quantization_config", None) is not None,
            beam_recipe=recipe.model_dump_json() if recipe.sample.beams > 1 else None,
        )

    def limit_trainer(self, arms: Sequence[Arm]) -> None:
        """Limit this process to the trainer's part of a GPU that several cells share.

        Raises:
            UserError: sampler and trainer do not fit into a cell's part of the GPU's memory.
        """
        whole, recipe = device_bytes_here(), self._recipe
        if whole is not None and recipe.cluster.sharing > 1:
            division = division_of(recipe, self._resident.config.to_dict(), arms, self._mixed(arms), whole)
            if (share := trainer_limit(recipe, division)) is not None:
                limit_memory(share)

    def _mixed(self, arms: Sequence[Arm]) -> int:
        """Return the largest number of adapters in one batch of the sampler."""
        continuous = is_continuous(self._recipe, device().type)
        return min(len(arms), MOST_MIXED) if continuous else max(map(len, cohorts_of(arms)))

    def _longest(self, arms: Sequence[Arm]) -> int:
        """Return the number of tokens of the longest request with its answer, over all arms.

        Raises:
            UserError: the model has too few positions.
        """
        config = self._resident.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        longest = max(max(self._prompting.longest(arm.recipe), self._canary.longest) for arm in arms)
        if positions is not None and longest > positions:
            raise UserError(
                f"a prompt with its sample takes {longest} tokens, but the model has {positions} positions. "
                "Lower source.block or sample.max_tokens."
            )
        return max(longest, self._examination.longest(positions))

    def _target_modules(self, arm: Arm) -> tuple[str, ...]:
        return tuple(self._resident.base_weights(arm.recipe).config["target_modules"])


def device_bytes_here() -> int | None:
    """Return the memory of this process's GPU in bytes; None on a CPU."""
    return device_memory() if device().type == "cuda" else None


def sampler_memory(
    recipe: Recipe, config: Mapping[str, Any], arms: Sequence[Arm], mixed: int, device_bytes: int | None
) -> tuple[float | None, bool]:
    """Return the sampler's share of a GPU, and True if it sleeps between batches.

    The recipe's own `sample.memory` wins. On a CPU it is returned as it is.

    Args:
        config: The model's configuration as a dictionary.
        mixed: Adapters that one batch may mix.
        device_bytes: Memory of the whole GPU; None on a CPU.

    Raises:
        UserError: sampler and trainer do not fit into the GPU's memory, or into a cell's part of it.
    """
    if recipe.sample.memory is not None or device_bytes is None:
        return recipe.sample.memory, False
    sharing = recipe.cluster.sharing
    division = division_of(recipe, config, arms, mixed, device_bytes)
    if division is None:  # a model of unknown shape
        return (OWN_GPU_SHARE if recipe.devices == "disjoint" else ROOMY) / sharing, False
    return division.share / sharing, division.sleeps


def division_of(
    recipe: Recipe, config: Mapping[str, Any], arms: Sequence[Arm], mixed: int, device_bytes: int
) -> Division | None:
    """Return the division of a cell's part of a GPU between its sides; None for a model of unknown shape.

    Arguments and errors are those of `sampler_memory`.
    """
    shape = configured_shape(dict(config))
    if shape is None:
        return None
    gpus = (recipe.cluster.sampler_gpus, recipe.cluster.trainer_gpus)
    asked = [demand(here(), arm.recipe, shape, gpus, mixed) for arm in arms]
    largest = max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)
    return share_gpu(device_bytes // recipe.cluster.sharing, largest, recipe.devices)


def trainer_limit(recipe: Recipe, division: Division | None) -> float | None:
    """Return the largest share of a GPU for a trainer that shares it with other cells; None for one that does not.

    A trainer beyond its share runs out of memory itself, and then takes smaller micro-batches. Otherwise the process that
    asks next would.
    """
    sharing = recipe.cluster.sharing
    if sharing == 1 or division is None:
        return None
    beside = 0.0 if recipe.devices == "disjoint" or division.sleeps else division.share
    return (1.0 - RESERVE - beside) / sharing
