"""A damaged model folder is refused with exit code 2, or scores exactly as before. It never gives other numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from autophage.cli import main
from autophage.data.model_folder import check_model_folder
from autophage.errors import UserError
from autophage.scoring import load_scorer

pytestmark = pytest.mark.thorough

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 987654\n"
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "grown": lambda content: content + b"\0" * 16,
    "zeroed": lambda content: bytes(len(content)),
    "emptied": lambda content: b"",
    "a pointer": lambda content: LFS,
    "a page": lambda content: b"<!DOCTYPE html><html>not found</html>",
    "flipped at its start": lambda content: bytes([content[0] ^ 0x80]) + content[1:],
}


def damages(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [(file, damage) for file in files for damage in [*DAMAGES, "removed"]]


def scored(folder: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    code = main(["score", str(folder), str(text), "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out)["estimates"] if code == 0 else None, told.err


def test_no_damage_changes_a_number(
    model_folder: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_file.write_text(text_file.read_text("utf-8")[:2000], "utf-8")
    _, right, _ = scored(model_folder, text_file, capsys)
    refused = 0
    for file, damage in damages(model_folder):
        folder = tmp_path / "damaged"
        shutil.copytree(model_folder, folder)
        if damage == "removed":
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(DAMAGES[damage]((folder / file).read_bytes()))
        code, found, words = scored(folder, text_file, capsys)
        if code == 0:
            assert found == right, f"{file} {damage}: other numbers"
        else:
            refused += 1
            assert code == 2, f"{file} {damage}: exit {code}\n{words}"
            assert "Traceback" not in words, f"{file} {damage}"
        shutil.rmtree(folder)
    assert refused >= len(damages(model_folder)) // 2


def test_a_missing_and_a_foreign_tensor(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    lost = tensors.pop("model.layers.1.mlp.up_proj.weight")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        load_scorer(str(folder))
    tensors |= {"model.layers.1.mlp.up_proj.weight": lost, "model.layers.2.mlp.up_proj.weight": lost.clone()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"hold model\.layers\.2\.mlp\.up_proj\.weight, for which"):
        load_scorer(str(folder))


@pytest.mark.parametrize("change", ["renamed", "lost"])
def test_an_adapter_whose_tensors_do_not_match(model_folder: Path, tmp_path: Path, change: str) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapter = tmp_path / "adapter"
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), LoraConfig(target_modules=["q_proj"]))
    wrapped.save_pretrained(str(adapter))
    file = adapter / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(file)
    name = sorted(tensors)[0]
    moved = tensors.pop(name)
    if change == "renamed":
        tensors[name.replace("layers.0", "layers.7")] = moved
    safetensors.torch.save_file(tensors, file)
    with pytest.raises(UserError, match=rf"adapter: lacks {name}"):
        load_scorer(str(model_folder), adapter)
    with pytest.raises(UserError, match="is an adapter, not a model"):
        check_model_folder(str(adapter))


def test_no_damage_of_an_adapter_changes_a_number(
    model_folder: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    text_file.write_text(text_file.read_text("utf-8")[:500], "utf-8")
    adapter = tmp_path / "adapter"
    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), config).save_pretrained(str(adapter))
    arguments = ["score", str(model_folder), str(text_file), "--json", "--adapter"]
    assert main([*arguments, str(adapter)]) == 0
    right = json.loads(capsys.readouterr().out)["estimates"]
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        for damage in [*DAMAGES, "removed"]:
            folder = tmp_path / "damaged"
            shutil.copytree(adapter, folder)
            if damage == "removed":
                (folder / file).unlink()
            else:
                (folder / file).write_bytes(DAMAGES[damage]((folder / file).read_bytes()))
            code = main([*arguments, str(folder)])
            told = capsys.readouterr()
            assert "Traceback" not in told.err, f"{file} {damage}"
            assert "An adapter fits only" not in told.err, f"{file} {damage}: {told.err}"
            assert code == 2 or json.loads(told.out)["estimates"] == right, f"{file} {damage}"
            shutil.rmtree(folder)


def test_a_model_with_an_adapter_in_its_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    """transformers puts it on the model without a word, and vLLM serves the model without it."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match="holds a model and an adapter"):
        check_model_folder(str(folder))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 600, r"hold \S+ as \(512, 32\), and a LlamaForCausalLM as in its config.json has \(600, 32\)"),
        ("num_attention_heads", 3, r"The hidden size \(32\) is not a multiple of the number of attention heads \(3\)"),
        ("quantization_config", "gptq", r"is quantised \(gptq\)"),
        ("quantization_config", {}, r"is quantised \(an unnamed method\)"),
    ],
)
def test_a_configuration_of_another_model(
    model_folder: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {key: value}), "utf-8")
    with pytest.raises(UserError, match=message):
        load_scorer(str(folder))


def test_shards_that_the_index_names(model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "model"
    AutoModelForCausalLM.from_pretrained(model_folder).save_pretrained(folder, max_shard_size="30KB")
    check_model_folder(str(folder))
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name} is missing, which model\.safetensors\.index\.json names"):
        check_model_folder(str(folder))


def test_a_quantised_model_and_more_tokens_than_rows(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    quantised = config | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(quantised), "utf-8")
    with pytest.raises(UserError, match=r"is quantised \(bitsandbytes\)"):
        check_model_folder(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}), "utf-8")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    cut = {name: tensor[:300].clone() if tensor.shape[0] == 512 else tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(cut, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"tokens up to number 399 .* its embedding has 300 rows"):
        load_scorer(str(folder))
