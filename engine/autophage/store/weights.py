"""What was trained, on its way from the trainer to the sampler and to disk: tensors as safetensors bytes, and a config.

    lora   GENERATION/adapter/  as PEFT and vLLM load it
    full   GENERATION/model/    as transformers' `from_pretrained` loads it, in float32: every weight of the model
    small  GENERATION/learner/  of a learner that is no language model: whatever it fits, by name

The bytes are the identity: their SHA-256 is in the name that the sampler serves them under and in the generation's
manifest. Model 0 of an arm that trains all weights is the base model, of which a run has one copy and needs no other:
it is stored as a reference, the digest that its tensors would have.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from autophage.errors import StoreError, UserError
from autophage.store.atomic import write_bytes, write_text

Method = Literal["lora", "full", "small"]

ADAPTER, MODEL, LEARNER = "adapter", "model", "learner"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
REFERENCE = "base.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
"""Weights that are Python pickles, which can run any code when they are read."""

_FILES: dict[Method, tuple[str, str, str]] = {
    "lora": (ADAPTER, WEIGHTS, CONFIG),
    "full": (MODEL, "model.safetensors", "config.json"),
    "small": (LEARNER, "state.safetensors", "learner.json"),
}
"""Folder, tensors and config of each method, by the names that PEFT and transformers look for."""


@dataclass(frozen=True)
class Weights:
    """`tensors` are safetensors bytes, `config` is JSON types, as PEFT (lora), transformers (full) or a learner has them."""

    tensors: bytes
    config: dict[str, Any]
    method: Method = "lora"
    reference: str | None = None
    """The digest of the base model, where that is what is meant; there are no tensors then."""

    @cached_property
    def digest(self) -> str:
        return self.reference or digest_of(self.tensors)

    def save(self, generation: Path) -> None:
        """Write the folder that belongs to the method into a generation's."""
        folder, tensors, config = _FILES[self.method]
        if self.reference is None:
            write_bytes(generation / folder / tensors, self.tensors)
        else:
            write_text(generation / folder / REFERENCE, json.dumps({"sha256": self.reference}) + "\n")
        write_text(generation / folder / config, json.dumps(self.config, indent=2, sort_keys=True) + "\n")


def digest_of(tensors: bytes) -> str:
    """SHA-256 of safetensors bytes, as in an adapter's name and its generation's manifest."""
    return hashlib.sha256(tensors).hexdigest()


def refuse_pickle(folder: Path) -> None:
    """Raise a `UserError` where the weights of an adapter's folder are not safetensors."""
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not (folder / WEIGHTS).is_file():
        held = (
            f" holds {', '.join(pickles)}, which is a pickle and could run any code when it is read, but"
            if pickles
            else ""
        )
        raise UserError(
            f"{folder}:{held} has no {WEIGHTS}. Only safetensors are read: save the adapter again with PEFT's "
            "save_pretrained(safe_serialization=True), in an environment where you trust the file."
        )


def load_weights(generation: Path) -> Weights:
    """What `save` wrote.

    Raises:
        StoreError: there is nothing, or nothing that can be read.
    """
    method: Method = next((one for one, names in _FILES.items() if (generation / names[0]).is_dir()), "lora")
    name, tensors, config = _FILES[method]
    folder = generation / name
    try:
        read = json.loads((folder / config).read_text("utf-8"))
        if (folder / REFERENCE).is_file():
            base = json.loads((folder / REFERENCE).read_text("utf-8"))["sha256"]
            return Weights(b"", read, method, base)
        return Weights((folder / tensors).read_bytes(), read, method)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: holds no weights that can be read ({error})") from error
