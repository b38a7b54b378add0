"""The size of the sampler's engine: lengths, adapters and memory for all arms that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autophage.errors import UserError
from autophage.host.devices import device, device_memory, element_type
from autophage.plan.footprint import demand
from autophage.plan.machines import here
from autophage.plan.memory import sampler_bytes, share_gpu, trainer_bytes
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
        continuous = is_continuous(recipe, device().type)
        mixed = min(len(arms), MOST_MIXED) if continuous else max(map(len, cohorts_of(arms)))
        longest = self._longest(arms)
        memory, sleeps = sampler_memory(recipe, self._resident.config.to_dict(), arms, mixed)
        return EngineSettings(
            model_path=self._resident.path,
            seed=recipe.seed,
            rank=max((arm.recipe.model.rank for arm in adapted), default=0),
            target_modules=self._target_modules(adapted[0]) if adapted else (),
            longest=longest,
            concurrency=recipe.sample.concurrency,
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
            beam_recipe=recipe.model_dump_json() if recipe.sample.beams > 1 else None,
        )

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


def sampler_memory(
    recipe: Recipe, config: Mapping[str, Any], arms: Sequence[Arm], mixed: int
) -> tuple[float | None, bool]:
    """Return the sampler's share of a GPU, and True if it sleeps between batches.

    The recipe's own `sample.memory` wins. The share is None on a CPU, or if the model's shape is unknown.

    Args:
        config: The model's configuration as a dictionary.
        mixed: Adapters that one batch may mix.

    Raises:
        UserError: sampler and trainer do not fit into the GPU's memory.
    """
    shape = configured_shape(dict(config))
    if recipe.sample.memory is not None or device().type != "cuda" or shape is None:
        return recipe.sample.memory, False
    gpus = (recipe.cluster.sampler_gpus, recipe.cluster.trainer_gpus)
    asked = [demand(here(), arm.recipe, shape, gpus, mixed) for arm in arms]
    largest = max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)
    division = share_gpu(device_memory(), largest, recipe.devices)
    return division.share, division.sleeps
