"""The shape of a model, which decides its cost: operations, and bytes of weights, KV cache and adapter.

A shape is read from a model's `config.json` or computed from a recipe's `[base]`. Otherwise it is guessed from a size
in the model's name. Pure arithmetic, without torch and downloads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.data.gguf_file import GgufHeader, is_gguf, read_header
from autophage.data.model_folder import ADAPTER_CONFIG
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.model import FROM_SOURCE

SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)
GUESSED_VOCABULARY = 128_000
GUESSED_KEY_SHARE = 0.25
"""Width of all keys relative to the hidden width. In grouped-query attention, four queries usually share a key."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder.

    `keys` is the number of key-value heads times the head size. `inner` is the feed-forward width. `origin` tells users
    the origin of the sizes.
    """

    parameters: int
    hidden: int
    inner: int
    layers: int
    vocabulary: int
    keys: int
    origin: str

    @property
    def kv_elements(self) -> int:
        """Number of elements (not bytes) of keys and values that one token takes in the KV cache, over all layers."""
        return 2 * self.layers * self.keys

    @property
    def adapter_per_rank(self) -> int:
        """Number of parameters per unit of rank of a LoRA adapter on every linear layer.

        Each of the seven linear layers of a decoder layer counts its inputs plus its outputs.
        """
        hidden, inner, keys = self.hidden, self.inner, self.keys
        return self.layers * (2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner))


def shape_of(recipe: Recipe) -> Shape | None:
    """Return the shape of the model that a recipe trains.

    None if neither the model's folder nor its name tells.
    """
    return base_shape(recipe) if recipe.model.path == FROM_SOURCE else shape_at(recipe.model.path)


def teacher_shape(recipe: Recipe) -> Shape | None:
    """Return the shape of the model that `anchor.reference` names; None if it is unknown.

    None too if training uses no reference, or if the reference is model 0.
    """
    return shape_at(recipe.anchor.reference) if recipe.refers and recipe.anchor.reference != BASE else None


def shape_at(path: str) -> Shape | None:
    """Return the shape of the model in a folder or with a hub id; None if unknown.

    A folder's `config.json` states the shape, or that of its base, for an adapter. A GGUF file states its own. Without
    either, the shape is guessed from a size in the name, such as 8B.
    """
    if is_gguf(path) and Path(path).is_file():
        try:
            return gguf_shape(read_header(Path(path)))
        except UserError:  # loading the model reports the fault
            return None
    config, adapter = Path(path) / "config.json", Path(path) / ADAPTER_CONFIG
    if not config.is_file() and adapter.is_file():
        try:
            base = str(json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"])
        except (OSError, ValueError, KeyError, TypeError):  # merging reports the fault
            return None
        return (
            None if base == path else shape_at(str(adapter.parent / base if (adapter.parent / base).is_dir() else base))
        )
    if config.is_file():
        try:
            return configured_shape(json.loads(config.read_text("utf-8")))
        except (OSError, ValueError, AttributeError):  # loading the model reports the fault
            return None
    found = SIZE_IN_NAME.findall(path.rsplit("/", 1)[-1])
    return guessed_shape(float(found[-1][0]) * (1e9 if found[-1][1] in "bB" else 1e6)) if found else None


def base_shape(recipe: Recipe) -> Shape:
    base = recipe.base
    world_words = round(5.3 * recipe.source.people**0.5) + 175  # the number of names grows with the root of the people
    vocabulary = world_words if recipe.source.kind == "world" else base.vocabulary
    width = base.hidden_size
    return llama_shape(width, 3 * width, base.layers, vocabulary, width, 1, "computed from [base]")


def configured_shape(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape that the content of a model's `config.json` states.

    None if a size is missing or has another name than in Llama's configuration.
    """
    config = config.get("text_config") or config
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head = int(config.get("head_dim") or hidden // heads)
        keys = int(config.get("num_key_value_heads") or heads) * head
        copies = 1 if config.get("tie_word_embeddings") else 2
        layers, vocabulary = int(config["num_hidden_layers"]), int(config["vocab_size"])
        return llama_shape(hidden, int(config["intermediate_size"]), layers, vocabulary, keys, copies, "config.json")
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def gguf_shape(header: GgufHeader) -> Shape | None:
    """Return the shape that the header of a GGUF file states; None if a size is missing."""
    sizes = [header.of_architecture(key) for key in ("embedding_length", "feed_forward_length", "block_count")]
    heads = header.of_architecture("attention.head_count")
    vocabulary = header.of_architecture("vocab_size") or header.metadata.get("tokenizer.ggml.tokens")
    if not all(isinstance(size, int) and size > 0 for size in (*sizes, heads, vocabulary)):
        return None
    hidden, inner, layers = sizes
    head = header.of_architecture("attention.key_length") or hidden // heads
    keys = (header.of_architecture("attention.head_count_kv") or heads) * head
    copies = 2 if "output.weight" in header.tensors else 1
    return llama_shape(hidden, inner, layers, int(vocabulary or 0), keys, copies, "the GGUF file")


def llama_shape(hidden: int, inner: int, layers: int, vocabulary: int, keys: int, copies: int, origin: str) -> Shape:
    """Return the shape of a Llama decoder, with its number of parameters.

    Args:
        keys: Number of key-value heads times the head size.
        copies: 1 if the LM head shares the embedding's weights, else 2.
        origin: Origin of the sizes, in words.
    """
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    parameters = copies * vocabulary * hidden + layers * layer + hidden
    return Shape(parameters, hidden, inner, layers, vocabulary, keys, origin)


def guessed_shape(parameters: float) -> Shape:
    """Guess the shape of a Llama of usual proportions from its number of parameters.

    A layer is taken to have 13 hidden^2 weights, and the model hidden / 64 layers. The feed-forward width is 3.5 times
    the hidden width.
    """
    hidden = round((64 * parameters / 13) ** (1 / 3))
    layers = max(1, hidden // 64)
    keys = max(1, round(hidden * GUESSED_KEY_SHARE))
    inner = round(3.5 * hidden)
    return Shape(round(parameters), hidden, inner, layers, GUESSED_VOCABULARY, keys, "guessed from the model's name")
