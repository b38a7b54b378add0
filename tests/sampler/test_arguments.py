"""vLLM's engine arguments by the settings of a sampler: types, sizes of a step, CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autophage.cluster.placement import bundles_of
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.sampler.arguments import MOST_IN_A_GRAPH, engine_arguments
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import EngineSettings

CPU = EngineSettings(
    "m", 1, 32, ("q_proj",), longest=64, concurrency=256, mixed=1, adapters=4, dtype="float32", device="cpu",
    memory=None, kv_bytes_per_token=1024, shares_device=False,
)  # fmt: skip
GPU = replace(CPU, dtype="bfloat16", device="cuda")


def recipe(**tables: Any) -> Recipe:
    return Recipe.model_validate({"name": "t", **tables})


@pytest.mark.parametrize("rank", [0, 32])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_logits_of_16_bit_models_leave_the_head_in_float32(device: str, rank: int) -> None:
    settings = replace(GPU, device=device, rank=rank)
    assert engine_arguments(settings)["hf_overrides"] == {"head_dtype": "float32"}


def test_float32_on_a_cpu_changes_nothing() -> None:
    assert "hf_overrides" not in engine_arguments(CPU)


def test_the_head_of_a_quantised_model_is_left_alone() -> None:
    assert "hf_overrides" not in engine_arguments(replace(GPU, quantized=True))


@pytest.mark.parametrize(
    ("concurrency", "longest", "tokens"),
    [(16, 64, 1024), (256, 64, 8192), (128, 64, 8192), (1, 64, 64), (4, 9000, 9000), (10_000, 64, 10_000)],
)
def test_a_step_has_as_many_tokens_as_can_come(concurrency: int, longest: int, tokens: int) -> None:
    settings = replace(CPU, concurrency=concurrency, longest=longest)
    assert engine_arguments(settings)["max_num_batched_tokens"] == tokens


@pytest.mark.parametrize("concurrency", [1, 64, 512])
def test_vllm_chooses_the_graphs_of_few_sequences(concurrency: int) -> None:
    assert "compilation_config" not in engine_arguments(replace(GPU, concurrency=concurrency))


@pytest.mark.parametrize(("concurrency", "largest"), [(513, 528), (1024, 1024), (1025, 1040), (9999, MOST_IN_A_GRAPH)])
def test_graphs_reach_the_concurrency(concurrency: int, largest: int) -> None:
    arguments = engine_arguments(replace(GPU, concurrency=concurrency))
    assert arguments["compilation_config"] == {"max_cudagraph_capture_size": largest}
    assert "compilation_config" not in engine_arguments(replace(CPU, concurrency=concurrency))


@pytest.mark.parametrize("rank", [0, 8])
def test_float32_is_refused_on_a_gpu(rank: int) -> None:
    with pytest.raises(UserError, match=r'model\.dtype = "float32"'):
        engine_arguments(replace(CPU, device="cuda", rank=rank))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_float32_on_gpus_is_refused_before_anything_starts(method: str) -> None:
    wrong = recipe(model={"method": method, "dtype": "float32"})
    with pytest.raises(UserError, match=r'model\.dtype = "float32"'):
        bundles_of(wrong, gpus=True)
    assert bundles_of(wrong, gpus=False)
    assert bundles_of(recipe(model={"dtype": "bfloat16"}), gpus=True)


def test_beams_have_no_vllm_that_refuses_float32() -> None:
    assert bundles_of(recipe(model={"dtype": "float32"}, sample={"beams": 2}), gpus=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (replace(CPU, device="cuda"), r'^model\.dtype = "float32": on a GPU'),
        (replace(GPU, memory=8.0), r"^sample\.memory = 8: on a GPU it is a share"),
    ],
)
def test_a_wrong_setting_is_named_and_not_the_model(wrong: EngineSettings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampler(wrong)


@pytest.mark.slow
def test_vllm_takes_every_argument_by_its_name(tmp_path: Path) -> None:
    from vllm import EngineArgs

    arguments = engine_arguments(replace(GPU, concurrency=1024, model_path=str(tmp_path)))
    made = EngineArgs(**arguments)
    assert made.compilation_config.max_cudagraph_capture_size == 1024
    assert made.hf_overrides == {"head_dtype": "float32"}
