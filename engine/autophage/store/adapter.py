"""An adapter on its way from the trainer to the sampler and to disk: tensors as safetensors bytes, and PEFT's config.

The bytes are the identity: their SHA-256 is in the adapter's name in the sampler and in the generation's manifest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autophage.errors import StoreError
from autophage.store.atomic import write_bytes, write_text

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """`weights` are safetensors bytes with PEFT's names; `config` is PEFT's, as JSON types."""

    weights: bytes
    config: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.weights).hexdigest()

    def save(self, folder: Path) -> None:
        """Write a folder that PEFT and vLLM can load."""
        write_bytes(folder / WEIGHTS, self.weights)
        write_text(folder / CONFIG, json.dumps(self.config, indent=2, sort_keys=True) + "\n")


def load_adapter(folder: Path) -> Adapter:
    try:
        return Adapter((folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text("utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise StoreError(f"{folder}: holds no adapter that can be read ({error})") from error
