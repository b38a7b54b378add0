"""The cache folder of a `from-source` base model.

The folder's name is a hash of everything that decides the weights: source content, the `[base]` table, the number of
positions, and `VERSION`. Does not know how the model is trained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from autophage.data.build import RawSource
from autophage.host.cache import cache_folder
from autophage.recipe.schema import Recipe

VERSION = 1
"""Raise when the architecture, the tokenizer or the training procedure of base models changes."""
WORLD_PROMPT_TOKENS = 64
"""Longest prompt of the built-in world."""
SPARE_POSITIONS = 8
LEAST_POSITIONS = 256


def base_model_folder(recipe: Recipe, raw: RawSource) -> Path:
    """Return the folder of this recipe's base model, trained or not."""
    key = json.dumps([VERSION, raw.digest, recipe.base.model_dump(), base_positions(recipe)], sort_keys=True)
    return cache_folder() / "models" / hashlib.sha256(key.encode()).hexdigest()[:24]


def base_positions(recipe: Recipe) -> int:
    """Return the positions of the base model: a power of two with room for training rows and for a prompt with its sample."""
    prompt = WORLD_PROMPT_TOKENS if recipe.source.kind == "world" else recipe.source.block
    need = max(recipe.base.length, prompt + max(recipe.max_tokens, recipe.source.continuation)) + SPARE_POSITIONS
    return max(LEAST_POSITIONS, 1 << (need - 1).bit_length())
