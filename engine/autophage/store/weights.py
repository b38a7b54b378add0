"""What was trained, on its way from the trainer to the sampler and to disk: tensors as safetensors bytes, and a config.

The bytes are the identity: their SHA-256 is in the name that the sampler serves them under and in the generation's manifest.
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
class Weights:
    """`tensors` are safetensors bytes with PEFT's names; `config` is PEFT's, as JSON types."""

    tensors: bytes
    config: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.tensors).hexdigest()

    def save(self, folder: Path) -> None:
        """Write a folder that PEFT and vLLM can load."""
        write_bytes(folder / WEIGHTS, self.tensors)
        write_text(folder / CONFIG, json.dumps(self.config, indent=2, sort_keys=True) + "\n")


def load_weights(folder: Path) -> Weights:
    try:
        return Weights((folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text("utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise StoreError(f"{folder}: holds no adapter that can be read ({error})") from error
