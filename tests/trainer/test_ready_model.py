"""Models as users have them: GGUF files, adapters with their base, sharded folders, tokenizers without start token."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainer.gguf_files import TEMPLATE, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from autophage.data.gguf_file import FLOAT16, FLOAT32, read_header
from autophage.data.model_folder import check_model_folder, check_rows, model_config, start_notes
from autophage.data.tokens import byte_pair_tokenizer, load_tokenizer, start_ids
from autophage.errors import UserError
from autophage.plan.shape import shape_at
from autophage.recipe.tables.model import ModelTable
from autophage.trainer.gguf_conversion import CANARY, surprise_notes
from autophage.trainer.loading import load_model
from autophage.trainer.ready_model import ready_model

TEXT = [f"In the year {n} the capital city by the river was rebuilt by {n % 7} masons of France.\n" for n in range(300)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path / "cache"))


def tiny(*, tied: bool = True, seed: int = 0) -> tuple[Any, Any]:
    """A small Llama with grouped keys and its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = byte_pair_tokenizer(TEXT, 400)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=tied, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval(), tokenizer


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0].float()
    return found


# GGUF files


@pytest.mark.parametrize(("half", "tied"), [(False, True), (True, False)])
def test_a_gguf_file_becomes_the_model_that_it_was_made_from(tmp_path: Path, half: bool, tied: bool) -> None:
    pytest.importorskip("gguf")
    model, tokenizer = tiny(tied=tied)
    if half:
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data = parameter.data.half().float()
    path = tmp_path / "tiny.gguf"
    write_gguf(path, model, tokenizer, half=half)
    assert read_header(path).matrix_type == (FLOAT16 if half else FLOAT32)
    folder, notes = ready_model(ModelTable(path=str(path)))
    assert f"{path} was converted to safetensors in {'float16' if half else 'float32'}; its weights keep" in notes[0]
    ids = load_tokenizer(folder).encode(CANARY)
    assert ids == tokenizer.encode(CANARY)
    assert start_ids(load_tokenizer(folder)) == start_ids(tokenizer)
    check_rows(folder, model_config(folder), load_tokenizer(folder))
    torch.testing.assert_close(logits(load_model(folder, torch.float32), ids), logits(model, ids), atol=1e-5, rtol=1e-5)
    before = sorted(file.stat().st_mtime_ns for file in Path(folder).iterdir())
    assert ready_model(ModelTable(path=str(path))) == (folder, notes)
    assert sorted(file.stat().st_mtime_ns for file in Path(folder).iterdir()) == before
    shape = shape_at(str(path))
    assert shape is not None
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_file_with_other_weights_is_another_model(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, *tiny())
    first, _ = ready_model(ModelTable(path=str(path)))
    write_gguf(path, *tiny(seed=1))
    assert ready_model(ModelTable(path=str(path)))[0] != first


def test_a_lost_start_token_is_put_back_and_told(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model, tokenizer = tiny()
    path = tmp_path / "tiny.gguf"
    write_gguf(path, model, tokenizer, add_start=True)
    folder, notes = ready_model(ModelTable(path=str(path)))
    assert any("had lost the start token '<s>'" in note for note in notes)
    assert AutoTokenizer.from_pretrained(folder).encode(CANARY)[0] == tokenizer.bos_token_id
    write_gguf(path, model, tokenizer, add_start=False)
    folder, notes = ready_model(ModelTable(path=str(path)))
    assert not any("start token" in note for note in notes)
    assert AutoTokenizer.from_pretrained(folder).encode(CANARY)[0] != tokenizer.bos_token_id


def test_a_chat_template_comes_along_and_a_broken_one_is_told(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, *tiny(), template=TEMPLATE)
    folder, notes = ready_model(ModelTable(path=str(path)))
    tokenizer: Any = load_tokenizer(folder)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "<s>user\nx</s>\n"
    assert not any("chat template" in note for note in notes)
    write_gguf(path, *tiny(), template="{% for m in messages %}{{ m['role'] }}{% endfor %}")
    assert any(
        "chat template does not give a plain sentence back" in note
        for note in ready_model(ModelTable(path=str(path)))[1]
    )
    write_gguf(path, *tiny(), template="{{ raise_exception('no') }}")
    assert any("chat template cannot be used" in note for note in ready_model(ModelTable(path=str(path)))[1])


def test_an_untrained_file_is_told(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, *tiny())
    assert any("as surprising as noise" in note for note in ready_model(ModelTable(path=str(path)))[1])


def test_a_start_token_that_disturbs_is_told() -> None:
    model, tokenizer = tiny(tied=False)
    alone = torch.tensor([tokenizer.encode(CANARY)])
    opened = torch.cat([torch.tensor([start_ids(tokenizer)]), alone], dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):  # it learns the sentence, and to be surprised by it after the start token
        losses = [model(input_ids=ids, labels=ids).loss for ids in (alone, opened)]
        optimizer.zero_grad()
        (losses[0] + torch.relu(5 - losses[1])).backward()
        optimizer.step()
    (note,) = surprise_notes(model, tokenizer)
    assert "after its start token more surprising" in note


def test_damaged_files_are_refused_before_anything_starts(tmp_path: Path) -> None:
    def refused(content: bytes) -> str:
        path = tmp_path / "x.gguf"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            ready_model(ModelTable(path=str(path)))
        return str(caught.value)

    assert "is no GGUF file" in refused(b"version https://git-lfs")
    assert "header is cut or damaged" in refused(b"GGUF\x03\0\0\0\1")
    assert "has version 9" in refused(b"GGUF\x09" + bytes(19))
    with pytest.raises(UserError, match="there is no such file"):
        ready_model(ModelTable(path=str(tmp_path / "none.gguf")))
    pytest.importorskip("gguf")
    write_gguf(tmp_path / "whole.gguf", *tiny())
    whole = (tmp_path / "whole.gguf").read_bytes()
    assert "ends before its last tensor" in refused(whole[: len(whole) // 2])
    assert not list((tmp_path / "cache").glob("models/*"))


def test_without_the_package_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + bytes(16) + b"\0")
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'pip install "autophage\[gguf\]"'):
        ready_model(ModelTable(path=str(path)))


def test_elsewhere_a_gguf_file_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"Only model\.path of a recipe takes one"):
        load_model("teacher.gguf", torch.float32)


# Adapters


def adapter_on(base: Path, folder: Path) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(str(folder))
    return adapted.eval()


def saved(folder: Path, **more: Any) -> Path:
    model, tokenizer = tiny()
    model.save_pretrained(folder, **more)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_adapter_is_merged_on_request_and_told(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    adapted = adapter_on(base, tmp_path / "adapter")
    with pytest.raises(UserError, match=r"model\.merge_adapter = true"):
        check_model_folder(str(tmp_path / "adapter"))
    folder, notes = ready_model(ModelTable(path=str(tmp_path / "adapter"), merge_adapter=True))
    assert f"the adapter {tmp_path / 'adapter'} was merged into its base {base}, in float32" in notes[0]
    check_model_folder(folder)
    ids = load_tokenizer(folder).encode(CANARY)
    torch.testing.assert_close(
        logits(load_model(folder, torch.float32), ids), logits(adapted, ids), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(logits(load_model(str(base), torch.float32), ids), logits(adapted, ids), atol=1e-2)
    assert ready_model(ModelTable(path=str(tmp_path / "adapter"), merge_adapter=True)) == (folder, notes)
    assert shape_at(str(tmp_path / "adapter")) == shape_at(str(base))


def test_a_base_is_found_beside_its_adapter_and_a_missing_one_is_told(tmp_path: Path) -> None:
    adapter_on(saved(tmp_path / "base"), tmp_path / "adapter")
    config = tmp_path / "adapter/adapter_config.json"
    content = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**content, "base_model_name_or_path": "../base"}), "utf-8")
    table = ModelTable(path=str(tmp_path / "adapter"), merge_adapter=True)
    assert Path(ready_model(table)[0], "model.safetensors").is_file()
    config.write_text(json.dumps({**content, "base_model_name_or_path": "nobody/nothing"}), "utf-8")
    with pytest.raises(UserError, match="its base 'nobody/nothing' cannot be loaded"):
        ready_model(table)
    config.write_text(json.dumps({**content, "base_model_name_or_path": None}), "utf-8")
    with pytest.raises(UserError, match="names no base_model_name_or_path"):
        ready_model(table)


def test_merging_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no adapter folder"):
        ready_model(ModelTable(path=str(saved(tmp_path / "base")), merge_adapter=True))


# Ordinary folders


def test_a_sharded_folder_is_the_same_model(tmp_path: Path) -> None:
    sharded = saved(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert ready_model(ModelTable(path=str(sharded))) == (str(sharded), [])
    check_model_folder(str(sharded))
    model, tokenizer = tiny()
    ids = tokenizer.encode(CANARY)
    assert torch.equal(logits(load_model(str(sharded), torch.float32), ids), logits(model, ids))
    next(iter(sharded.glob("*.safetensors"))).unlink()
    with pytest.raises(UserError, match=r"which model\.safetensors\.index\.json names"):
        check_model_folder(str(sharded))


def test_a_missing_start_token_is_told(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    assert start_notes(str(folder), load_tokenizer(str(folder))) == []
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config["bos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (note,) = start_notes(str(folder), load_tokenizer(str(folder)))
    assert "names no start token, but config.json does (1)" in note
    model = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**model, "bos_token_id": model["eos_token_id"]}), "utf-8")
    assert start_notes(str(folder), load_tokenizer(str(folder))) == []
