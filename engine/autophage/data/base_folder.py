"""The cache folder of a `from-source` base model.

The folder's name is a hash of everything that decides the weights. These are source content, the `[base]` table, the
number of positions, and `VERSION`. Does not know how the model is trained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from autophage.data.build import RawSource
from autophage.host.cache import cache_folder
from autophage.recipe.schema import Recipe

VERSION = 1
"""Version of cached base models. Raise it when their architecture, tokenizer or training procedure changes."""
WORLD_PROMPT_TOKENS = 64
"""Maximum tokens of a prompt from the built-in world."""
SPARE_POSITIONS = 8
LEAST_POSITIONS = 256


def base_model_folder(recipe: Recipe, raw: RawSource) -> Path:
    """Return the cache folder of a recipe's `from-source` base model. The folder may not exist yet."""
    key = json.dumps([VERSION, raw.digest, recipe.base.model_dump(), base_positions(recipe)], sort_keys=True)
    return cache_folder() / "models" / hashlib.sha256(key.encode()).hexdigest()[:24]


def base_positions(recipe: Recipe) -> int:
    """Return the maximum sequence length of the base model, in tokens.

    It is a power of two. A training row fits, and so does a prompt with its sample.
    """
    prompt = WORLD_PROMPT_TOKENS if recipe.source.kind == "world" else recipe.source.block
    need = max(recipe.base.length, prompt + max(recipe.max_tokens, recipe.source.continuation)) + SPARE_POSITIONS
    return max(LEAST_POSITIONS, 1 << (need - 1).bit_length())
