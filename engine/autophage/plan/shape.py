"""The sizes of a model that decide what it costs: operations, bytes of weights, of KV cache and of an adapter.

Read from a model's `config.json`, computed from a recipe's `[base]`, or guessed from a size in the model's name. Pure
arithmetic: no torch, nothing downloaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.model import FROM_SOURCE

SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)
GUESSED_VOCABULARY = 128_000
GUESSED_KEY_SHARE = 0.25
"""Keys' width over the hidden width: grouped-query attention with four queries a key is what models of today have."""


@dataclass(frozen=True)
class Shape:
    """`keys` is key-value heads x head size; `inner` the width of the feed-forward. `origin` says how they are known."""

    parameters: int
    hidden: int
    inner: int
    layers: int
    vocabulary: int
    keys: int
    origin: str

    @property
    def kv_elements(self) -> int:
        """Numbers that the KV cache holds for one token."""
        return 2 * self.layers * self.keys

    @property
    def adapter_per_rank(self) -> int:
        """Parameters that each rank of an adapter on every linear layer has: inputs plus outputs of the seven layers."""
        hidden, inner, keys = self.hidden, self.inner, self.keys
        return self.layers * (2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner))


def shape_of(recipe: Recipe) -> Shape | None:
    """The shape of the recipe's model, None where neither a folder nor a name tells."""
    return base_shape(recipe) if recipe.model.path == FROM_SOURCE else shape_at(recipe.model.path)


def teacher_shape(recipe: Recipe) -> Shape | None:
    """Of the model that training looks at beside its own; None where it is model 0, or neither folder nor name tells."""
    return shape_at(recipe.anchor.reference) if recipe.refers and recipe.anchor.reference != BASE else None


def shape_at(path: str) -> Shape | None:
    """Of a model folder, or as far as a hub id's name tells."""
    config = Path(path) / "config.json"
    if config.is_file():
        try:
            return configured_shape(json.loads(config.read_text("utf-8")))
        except (OSError, ValueError, AttributeError):  # what is wrong with it is said where the model is loaded
            return None
    found = SIZE_IN_NAME.findall(path.rsplit("/", 1)[-1])
    return guessed_shape(float(found[-1][0]) * (1e9 if found[-1][1] in "bB" else 1e6)) if found else None


def base_shape(recipe: Recipe) -> Shape:
    base = recipe.base
    world_words = round(5.3 * recipe.source.people**0.5) + 175  # names grow with the root of the people
    vocabulary = world_words if recipe.source.kind == "world" else base.vocabulary
    width = base.hidden_size
    return llama_shape(width, 3 * width, base.layers, vocabulary, width, 1, "computed from [base]")


def configured_shape(config: Mapping[str, Any]) -> Shape | None:
    """Of a `config.json`; None where the architecture has other names for its sizes."""
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


def llama_shape(hidden: int, inner: int, layers: int, vocabulary: int, keys: int, copies: int, origin: str) -> Shape:
    """A decoder of the Llama family; `copies` of the embedding are 2 where the LM head has weights of its own."""
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    parameters = copies * vocabulary * hidden + layers * layer + hidden
    return Shape(parameters, hidden, inner, layers, vocabulary, keys, origin)


def guessed_shape(parameters: float) -> Shape:
    """A Llama of the usual proportions: 13 hidden^2 weights a layer, hidden / 64 layers, 3.5 hidden in the feed-forward."""
    hidden = round((64 * parameters / 13) ** (1 / 3))
    layers = max(1, hidden // 64)
    keys = max(1, round(hidden * GUESSED_KEY_SHARE))
    inner = round(3.5 * hidden)
    return Shape(round(parameters), hidden, inner, layers, GUESSED_VOCABULARY, keys, "guessed from the model's name")
