"""The share of light: parts of a step, sizes, shares turn by turn, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from autophage.trainer.products import Product
from harness.rows import OURS, Measurement
from light_bench.asked import Asked
from light_bench.parts import ATTENTION, HOST, OTHER, PRODUCTS, SAMPLER, by_kind, kind, parts_of

ASKED = Asked("", "tiny", rows=4, prompt=8, tokens=5, batch_size=2, rank=8, bare_flops=1e9)


@pytest.fixture(scope="module")
def light(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("light")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("_C::onednn_mm", PRODUCTS),
        ("aten::addmm", PRODUCTS),
        ("nvjet_tst_128x8_64x12_2x1_v_bz_TNT", PRODUCTS),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", PRODUCTS),
        ("_C::cpu_attention_with_kv_cache", ATTENTION),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", ATTENTION),
        ("void flash::flash_fwd_splitkv_kernel<cutlass::bfloat16_t>", ATTENTION),
        ("_C::fused_gumbel_argmax", SAMPLER),
        ("aten::silu", OTHER),
        ("aten::comm", OTHER),
    ],
)
def test_operations_have_a_kind(operation: str, expected: str) -> None:
    assert kind(operation) == expected


def test_what_no_operation_takes_is_the_host() -> None:
    found = by_kind({"aten::mm": 3.0, "aten::addmm": 1.0, "aten::silu": 2.0}, wall=10.0)
    assert found == {ATTENTION: 0.0, PRODUCTS: 4.0, SAMPLER: 0.0, OTHER: 2.0, HOST: 4.0}
    assert by_kind({"aten::mm": 3.0}, wall=2.0)[HOST] == 0.0


def test_the_parts_of_a_step_add_up_to_it() -> None:
    chain = [("", 10.0), ("LoRA", 14.0), ("statistics", 13.5)]
    parts = parts_of(chain, {PRODUCTS: 3.0, HOST: 1.0, SAMPLER: 0.0})
    assert {part.name: part.seconds for part in parts} == {PRODUCTS: 7.5, HOST: 2.5, "LoRA": 4.0, "statistics": -0.5}
    assert sum(part.seconds for part in parts) == pytest.approx(13.5)
    assert [part.how for part in parts] == ["profiled", "profiled", "switched off", "switched off"]


def test_sizes_and_work_of_a_part() -> None:
    products = [Product("q", 16, 32, 3), Product("head", 16, 100, 1, head=True)]
    assert ASKED.trained == 2 * 12
    layers, head = 2 * 3 * 16 * 32, 2 * 16 * 100
    assert ASKED.work("sample", products, 2)["prefill"]["GFLOP"] == pytest.approx((32 * layers + 4 * head) / 1e9)
    assert ASKED.work("sample", products, 2)["step"]["MB"] == pytest.approx(2 * (3 * 16 * 32 + 16 * 100) / 1e6)
    step = (26 * layers + 24 * head) / 1e9
    for part, passes in (("score", 1), ("lora", 2), ("full", 3)):
        assert ASKED.work(part, products, 4)["step"]["GFLOP"] == pytest.approx(passes * step)
    assert ASKED.work("head", products, 4)["both"]["GFLOP"] == pytest.approx(2 * 24 * head / 1e9)


def test_the_light_is_the_faster_product_of_the_same_turn(light: ModuleType) -> None:
    rows = [
        Measurement("p", "bare linear", "step", "ms", [4.0, 9.0]),
        Measurement("p", "bare onednn", "step", "ms", [6.0, 3.0]),
        Measurement("p", OURS, "step", "ms", [8.0, 12.0]),
    ]
    assert light.shares_of_light(rows, "p", ASKED) == [Measurement("p", OURS, "step: of light", "share", [0.5, 0.25])]


def test_a_whole_batch_is_compared_with_its_prompts_and_further_tokens(light: ModuleType) -> None:
    rows = [
        Measurement("p", "bare linear", "prefill", "ms", [20.0]),
        Measurement("p", "bare linear", "step", "ms", [5.0]),
        Measurement("p", "base", "whole", "ms", [30.0]),
        Measurement("p", "generate", "whole", "ms", [80.0]),
    ]
    [share] = light.shares_of_light(rows, "p", ASKED)
    assert (share.contender, share.values) == ("generate", [(20 + 4 * 5) / 80])


def test_the_plan_names_products_and_flops(light: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert light.main(["--dry-run", "--quick", "--only", "sample,head"]) == 0
    printed = capsys.readouterr().out
    assert "15 linear layers in 8 shapes" in printed
    assert "sampling 4 x (8 + 4)" in printed
    assert "training" not in printed


def test_an_unknown_part_is_a_mistake_in_the_command(light: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        light.main(["--only", "sampling"])
    assert ended.value.code == 2
    assert "choose of sample, lora, full, score, head, run" in capsys.readouterr().err


def quick(out: Path, parts: str) -> dict[tuple[str, str], float]:
    command = [sys.executable, "-m", "autophage", "bench", "light", "--quick", "--only", parts, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert all(row["note"] == "" and row["values"] for row in rows), rows
    return {(f"{row['point']}: {row['contender']}", row["figure"]): row["median"] for row in rows}


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_training_and_scoring_are_divided(tmp_path: Path) -> None:
    found = quick(tmp_path / "rows.jsonl", "lora,score")
    for point in ("training LoRA 2 x 12", "scoring 2 x 12"):
        bare = min(found[f"{point}: bare {name}", "step"] for name in ("linear", "onednn"))
        ours = found[f"{point}: autophage", "step"]
        assert found[f"{point}: autophage", "step: of light"] == pytest.approx(bare / ours)
        parts = [
            share for (name, figure), share in found.items() if f"{point}: part" in name and figure == "step: share"
        ]
        assert sum(parts) == pytest.approx(1)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_sampling_is_divided(tmp_path: Path) -> None:
    found = quick(tmp_path / "rows.jsonl", "sample")
    point = "sampling 4 x (8 + 4)"
    for figure in ("prefill", "step"):
        assert found[f"{point}: autophage", f"{figure}: of light"] > 0
        parts = [
            share for (name, own), share in found.items() if f"{point}: part" in name and own == f"{figure}: share"
        ]
        assert sum(parts) == pytest.approx(1)
