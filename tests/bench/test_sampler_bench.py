"""The benchmark of mixed adapters: contenders and ratios. Grouping changes no token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from autophage.errors import RunError, UserError


@pytest.fixture(scope="module")
def sampler(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("sampler")


def test_a_contender_that_does_not_exist_is_named(sampler: ModuleType) -> None:
    common = sampler.Engine("quick", "cpu", "float32", 32, 8)
    with pytest.raises(UserError, match="--only grouped-5: contenders are merged, grouped-1, grouped-4"):
        sampler.plan(common, [1, 4], ["merged", "grouped-5"], 4)


def test_only_the_engines_that_are_needed_start(sampler: ModuleType) -> None:
    common = sampler.Engine("quick", "cpu", "float32", 32, 8)
    engines, contenders = sampler.plan(common, [1, 4, 8], ["grouped-8", "merged"], 4)
    assert [one.name for one in contenders] == ["merged", "grouped-8"]
    assert {name: (one["slots"], one["grouped"]) for name, one in engines.items()} == {
        "merged": (0, False),
        "grouped": (8, True),
    }


def test_vllm_as_it_comes_takes_part_up_to_a_number(sampler: ModuleType) -> None:
    _, contenders = sampler.plan(sampler.Engine("quick", "cpu", "float32", 32, 8), [1, 4, 8], None, 4)
    assert [one.name for one in contenders if one.engine == "default"] == ["default-1", "default-4"]


def test_a_gpu_has_no_grouping(sampler: ModuleType) -> None:
    engines, contenders = sampler.plan(sampler.Engine("1b", "cuda", "bfloat16", 32, 8), [1, 32], None, 4)
    assert set(engines) == {"merged", "stock"}
    assert [one.name for one in contenders] == ["merged", "stock-1", "stock-32"]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.long
def test_an_engine_that_cannot_start_says_why(sampler: ModuleType, tmp_path: Path) -> None:
    spec = {"shape": "quick", "device": "cpu", "dtype": "float32", "sequences": 8, "tokens": 8, "folder": str(tmp_path)}
    with pytest.raises(RunError, match=r"--worker serve.* gave no answer(.|\n)*Error"):
        sampler.Resident(Path(str(sampler.__file__)), "serve", spec, tmp_path / "serve", 100)
