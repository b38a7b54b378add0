"""Faults of a local model folder, found before anything is started.

Everything is read from `config.json`, the other JSON files and the headers of the safetensors files. No tensor is
read. A hub id is not checked: it is loaded, or it is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autophage.data.gguf_file import is_gguf
from autophage.data.own_code import code_files, refuse_own_code
from autophage.data.pointers import refuse_pointer
from autophage.errors import UserError
from autophage.store.atomic import sha256
from autophage.store.weights import WEIGHTS, refuse_pickle

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
PLAIN_JSON = (
    CONFIG,
    INDEX,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
DECISIVE = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Suffixes of the files of a model folder that decide weights, tokenizer and template."""
NEEDS_START = ("gemma", "recurrent_gemma")
"""Beginnings of the types of models that babble without their start token."""
LONGEST_HEADER = 100 << 20
"""Largest header of a safetensors file in bytes, as its format sets it."""


def check_model_folder(path: str) -> None:
    """Check that a local model folder is complete and unquantised. A hub id passes.

    Raises:
        UserError: A file is missing, cut, damaged or a Git LFS pointer; or the folder is an adapter, or quantised.
    """
    folder = Path(path)
    if is_gguf(path):
        raise UserError(
            f"{path}: is a GGUF file. Only model.path of a recipe takes one; here a model folder or hub id is needed."
        )
    if not folder.is_dir():
        return
    if not (folder / CONFIG).is_file():
        raise UserError(_no_config(folder))
    if (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{folder}: holds a model and an adapter. transformers would put the adapter on the model, and vLLM would not. Move "
            f"{ADAPTER_CONFIG} and the adapter's weights to a folder of their own."
        )
    for file in sorted(folder.iterdir()):
        if file.is_file():
            refuse_pointer(file)
    contents = {name: read_json(folder / name) for name in PLAIN_JSON if (folder / name).is_file()}
    config = contents[CONFIG]
    quantization = config.get("quantization_config")
    if quantization is not None:
        named = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        method = named if isinstance(named, str) else "an unnamed method"
        raise UserError(
            f"model {path!r}: is quantised ({method}). Training and the comparison of sampler and trainer need plain "
            "weights. Give the model that it was made from."
        )
    _check_weights(folder, contents.get(INDEX))


def _no_config(folder: Path) -> str:
    adapter = folder / ADAPTER_CONFIG
    if adapter.is_file():
        base = read_json(adapter).get("base_model_name_or_path") or "the model that it was trained on"
        return (
            f"{folder}: is an adapter, not a model. A recipe with model.merge_adapter = true merges it into its base once. Or "
            f"give the base: {base}. `autophage score` takes an adapter beside a model: --adapter {folder}."
        )
    return f"{folder}: has no config.json, so it is no model folder. Give one with config.json and safetensors weights."


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a model folder.

    Raises:
        UserError: The file holds none.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}). Copy the file again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no JSON object. Copy the file again.")
    return content


def check_adapter_folder(folder: Path) -> None:
    """Check that the folder of a PEFT adapter has its files, and that they are whole.

    Raises:
        UserError: A file is missing, cut, damaged, a pickle or a Git LFS pointer.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(f"{folder}: has no {ADAPTER_CONFIG}; give the folder of a PEFT adapter.")
    refuse_pickle(folder)
    for name in (ADAPTER_CONFIG, WEIGHTS):
        refuse_pointer(folder / name)
    read_json(folder / ADAPTER_CONFIG)
    tensor_names(folder / WEIGHTS)


def _check_weights(folder: Path, index: Mapping[str, Any] | None) -> None:
    if index is None:
        shards = sorted(folder.glob("*.safetensors"))
    else:
        named = index.get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise UserError(f"{folder / INDEX}: holds no weight_map from tensors to files. Copy the file again.")
        shards = sorted({folder / name for name in named.values()})
        if missing := [file.name for file in shards if not file.is_file()]:
            raise UserError(
                f"{folder}: {', '.join(missing[:3])} {'is' if len(missing) == 1 else 'are'} missing, which {INDEX} names. "
                "Copy the model again."
            )
    if not shards and code_files(str(folder)):
        return  # the code that it needs is the greater fault, and loading tells it
    if not shards:
        raise UserError(
            f"{folder}: holds no safetensors weights. Convert others with save_pretrained of transformers, in an environment "
            "where you trust the files."
        )
    held: set[str] = set()
    for shard in shards:
        held |= tensor_names(shard)
    if index is not None and (absent := sorted(set(index["weight_map"]) - held)):
        raise UserError(
            f"{folder}: the weights hold no {absent[0]}, which {INDEX} names ({len(absent)} such tensors). Copy the model again."
        )


def tensor_names(file: Path) -> set[str]:
    """Return the names of the tensors in a safetensors file, from its header.

    Raises:
        UserError: The file is cut, or its header is damaged.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= min(size, LONGEST_HEADER) else b""
    try:
        if size < 8 or len(header) < length or not length:
            raise ValueError("its header is cut")
        described = json.loads(header)
        described.pop("__metadata__", None)
        end = max((int(one["data_offsets"][1]) for one in described.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{file}: is no safetensors file ({error}). Copy it again.") from error
    if 8 + length + end != size:
        raise UserError(
            f"{file}: has {size:,} bytes instead of {8 + length + end:,}. It was cut or damaged on its way; copy it again."
        )
    return set(described)


def model_config(path: str) -> Any:
    """Return the configuration of transformers for a model folder or hub id; None if it cannot be read.

    Raises:
        UserError: The model needs code of its own.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # a configuration may fail in any way, and loading tells it
        refuse_own_code(path, error)
        return None


def model_key(kind: str, version: int, *parts: Path | str) -> str:
    """Return the name of the cache folder of a model that is made of files.

    Args:
        kind: How it is made, in a word.
        version: Version of the making.
        parts: Files, model folders and hub ids. Files and the decisive files of folders count by their content.
    """
    digest = hashlib.sha256(f"{kind} {version}".encode())
    for part in parts:
        place = Path(part)
        found = [place] if place.is_file() else sorted(place.iterdir()) if place.is_dir() else []
        for file in found:
            if file.is_file() and (place.is_file() or file.suffix in DECISIVE):
                digest.update(f"\n{file.name if place.is_dir() else ''} {sha256(file)}".encode())
        if not found:
            digest.update(f"\n{part}".encode())
    return digest.hexdigest()[:24]


def check_rows(path: str, config: Any, tokenizer: Any) -> None:
    """Check that a model has an embedding for every token of its tokenizer.

    Raises:
        UserError: The tokenizer has more tokens than the model has rows.
    """
    highest = max(tokenizer.get_vocab().values())
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if rows is not None and highest >= rows:
        word = next(word for word, place in tokenizer.get_vocab().items() if place == highest)
        raise UserError(
            f"model {path!r}: its tokenizer has tokens up to number {highest:,} ({word!r}), and its embedding has {rows:,} rows. "
            "Resize the model's embeddings (resize_token_embeddings), train the new rows, and save it again."
        )


def start_notes(path: str, tokenizer: Any) -> list[str]:
    """Return a note about a tokenizer without the start token that its model was trained with; none if all is well.

    A start token that also ends texts or fills rows is none: Qwen's configurations name one that is never put before a text.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config()
    start, ends = getattr(config, "bos_token_id", None), getattr(config, "eos_token_id", None)
    others = {tokenizer.eos_token_id, tokenizer.pad_token_id, *(ends if isinstance(ends, list) else [ends])}
    if tokenizer.bos_token_id is None:
        if start is None or start in others:
            return []
        return [
            f"the tokenizer of {path} names no start token, but config.json does ({start}). Texts open with the end token, which "
            "the model may not expect. If it babbles, set bos_token in tokenizer_config.json"
        ]
    if str(config.model_type).startswith(NEEDS_START) and list(tokenizer.encode("a"))[:1] != [tokenizer.bos_token_id]:
        return [
            f"the tokenizer of {path} puts no {tokenizer.bos_token} before a text, without which this model babbles. autophage "
            "does; other programs that read the folder may not"
        ]
    return []
