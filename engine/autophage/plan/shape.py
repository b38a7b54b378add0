"""The shape of a model, which decides its cost: operations, and bytes of weights, KV cache and adapter.

A shape is read from a model's `config.json`, computed from a recipe's `[base]`, or guessed from a size in the model's
name. Pure arithmetic, without torch and downloads.
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
"""Width of the keys relative to the hidden width: grouped-query attention with four queries per key is usual."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, and their origin. `keys` is key-value heads x head size, `inner` the feed-forward width."""

    parameters: int
    hidden: int
    inner: int
    layers: int
    vocabulary: int
    keys: int
    origin: str

    @property
    def kv_elements(self) -> int:
        """Elements of the KV cache per token."""
        return 2 * self.layers * self.keys

    @property
    def adapter_per_rank(self) -> int:
        """Parameters per rank of an adapter on every linear layer: inputs plus outputs of the seven layers."""
        hidden, inner, keys = self.hidden, self.inner, self.keys
        return self.layers * (2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner))


def shape_of(recipe: Recipe) -> Shape | None:
    """Return the shape of the recipe's model; None if neither its folder nor its name tells."""
    return base_shape(recipe) if recipe.model.path == FROM_SOURCE else shape_at(recipe.model.path)


def teacher_shape(recipe: Recipe) -> Shape | None:
    """Return the shape of the anchor's reference model; None if that is model 0, or if its shape is unknown."""
    return shape_at(recipe.anchor.reference) if recipe.refers and recipe.anchor.reference != BASE else None


def shape_at(path: str) -> Shape | None:
    """Return the shape of a model folder, or the one guessed from a hub id; None if unknown."""
    config = Path(path) / "config.json"
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
    """Return the shape of a Llama decoder; `copies` is 2 if the LM head does not share the embedding's weights."""
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    parameters = copies * vocabulary * hidden + layers * layer + hidden
    return Shape(parameters, hidden, inner, layers, vocabulary, keys, origin)


def guessed_shape(parameters: float) -> Shape:
    """Guess a Llama of the usual proportions.

    A layer has 13 hidden^2 weights, the model hidden / 64 layers, and the feed-forward 3.5 times the hidden width.
    """
    hidden = round((64 * parameters / 13) ** (1 / 3))
    layers = max(1, hidden // 64)
    keys = max(1, round(hidden * GUESSED_KEY_SHARE))
    inner = round(3.5 * hidden)
    return Shape(round(parameters), hidden, inner, layers, GUESSED_VOCABULARY, keys, "guessed from the model's name")
