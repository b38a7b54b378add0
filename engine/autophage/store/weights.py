"""Trained weights: tensors as safetensors bytes, and a config. The same bytes go to the sampler and to disk.

    lora   GENERATION/adapter/  an adapter in the format of PEFT and vLLM
    full   GENERATION/model/    all weights in float32, in the format of transformers' `from_pretrained`
    small  GENERATION/learner/  the parameters of a learner that is no language model, by name

The SHA-256 of the bytes identifies the weights. It is part of their name in the sampler, and stands in the manifest.
Model 0 of an arm that trains all weights is the base model. It is stored as a reference: the digest of its tensors.
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
"""File patterns of weights that are Python pickles. Reading a pickle can run any code."""

_FILES: dict[Method, tuple[str, str, str]] = {
    "lora": (ADAPTER, WEIGHTS, CONFIG),
    "full": (MODEL, "model.safetensors", "config.json"),
    "small": (LEARNER, "state.safetensors", "learner.json"),
}
"""Folder, tensors and config of each method. PEFT and transformers expect these names."""


@dataclass(frozen=True)
class Weights:
    """Weights of one model as safetensors bytes, with their config in JSON types.

    The config is that of PEFT, of transformers or of a learner.
    """

    tensors: bytes
    config: dict[str, Any]
    method: Method = "lora"
    reference: str | None = None
    """Digest of the base model, if these are its weights; else None. `tensors` is empty with a digest."""

    @cached_property
    def digest(self) -> str:
        return self.reference or digest_of(self.tensors)

    def save(self, generation: Path) -> None:
        """Write tensors and config into the folder `generation`."""
        folder, tensors, config = _FILES[self.method]
        if self.reference is None:
            write_bytes(generation / folder / tensors, self.tensors)
        else:
            write_text(generation / folder / REFERENCE, json.dumps({"sha256": self.reference}) + "\n")
        write_text(generation / folder / config, json.dumps(self.config, indent=2, sort_keys=True) + "\n")


def digest_of(tensors: bytes) -> str:
    """Return the SHA-256 of safetensors bytes in hex. Adapter names and manifests contain it."""
    return hashlib.sha256(tensors).hexdigest()


def refuse_pickle(folder: Path) -> None:
    """Refuse an adapter folder without safetensors, such as one that holds a pickle.

    Raises:
        UserError: The folder has no safetensors file.
    """
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
    """Read the weights that `Weights.save` wrote into the folder `generation`.

    Raises:
        StoreError: The folder has no weights, or they cannot be read.
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
