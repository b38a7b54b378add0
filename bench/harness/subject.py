"""Subjects of measurement: a model's shape, the recipe of its loop, and random weights for the larger shapes.

`demo` is the base model of the demo recipe, barely trained. The quality of its text does not matter, as every sample has its
full length. `1b` and `8b` have the shapes of Llama 3.2 1B and Llama 3.1 8B. They read a made-up text in blocks of 64 tokens.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.host.cache import cache_folder
from harness.command import positive
from harness.random_weights import write_weights
from harness.shapes import BLOCK, SHAPES, LlamaShape

BASE_TOKENS = 60_000
"""Tokens of a small base model's training. It takes seconds, once, and is cached."""
TEXT_LINES = 6000


@dataclass(frozen=True)
class Loop:
    """One experiment for every contender: N samples of some length, and the hyper-parameters of training."""

    shape: str = "demo"
    samples: int = 256
    tokens: int = 64
    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 2e-3
    rank: int = 32
    seeds: list[int] = field(default_factory=lambda: [1])
    """One arm each."""
    generations: int = 3
    devices: str = "serial"
    model: str = ""
    """Folder of the model in place of the shape's own."""
    method: str = "lora"
    prompt: int = BLOCK
    """Tokens of a prompt where a text is read."""

    @property
    def scale(self) -> int:
        """LoRA's alpha."""
        return 2 * self.rank

    @property
    def concurrency(self) -> int:
        """Sequences that a sampler holds at once, ours and everybody's."""
        return 256

    def training_options(self) -> list[str]:
        """The hyper-parameters for bench/peers/naive_train.py."""
        return [
            "--rank", str(self.rank), "--alpha", str(self.scale), "--learning-rate", str(self.learning_rate),
            "--epochs", str(self.epochs), "--batch-size", str(self.batch_size),
        ]  # fmt: skip

    def as_spec(self) -> dict[str, Any]:
        return {"loop": asdict(self)}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Loop:
        return cls(**spec["loop"])


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which experiment it is."""
    own = Loop()
    parser.add_argument("--shape", choices=[name for name in SHAPES if name != "quick"], default=own.shape)
    parser.add_argument("--tokens", type=positive, default=own.tokens, help=f"tokens of each sample ({own.tokens})")
    parser.add_argument("--epochs", type=float, default=own.epochs, help=f"epochs of each generation ({own.epochs:g})")
    parser.add_argument(
        "--batch-size", type=positive, default=own.batch_size, help=f"documents a step ({own.batch_size})"
    )
    parser.add_argument("--rank", type=positive, default=own.rank, help=f"rank of the adapters ({own.rank})")


def loop_of(chosen: argparse.Namespace, **changes: Any) -> Loop:
    """Experiment that the options describe. A quick one is always small."""
    if chosen.quick:
        return Loop(**{"shape": "quick", "samples": 8, "tokens": 32, "rank": 8, "batch_size": 8, **changes})
    options = {name: getattr(chosen, name) for name in ("shape", "tokens", "epochs", "batch_size", "rank")}
    return Loop(**{**options, **changes})


def write_recipe(loop: Loop, folder: Path) -> Path:
    """The experiment as a recipe of this repository, in `folder`."""
    shape = SHAPES[loop.shape]
    if shape.people and not loop.model:
        source = [
            "[source]", 'kind = "world"', f"people = {shape.people}", "held_out_documents = 64",
            "[base]", f"hidden_size = {shape.hidden}", f"layers = {shape.layers}", f"heads = {shape.heads}",
            f"tokens = {BASE_TOKENS}", "[model]",
        ]  # fmt: skip
    else:
        text = folder / "text.txt"
        text.write_text(made_up_text(), "utf-8")
        source = [
            "[source]", 'kind = "text"', f'path = "{text}"', f"block = {loop.prompt}",
            f"continuation = {loop.tokens}", "[model]", f'path = "{loop.model or random_model(loop.shape)}"',
        ]  # fmt: skip
    source.append(f"rank = {loop.rank}" if loop.method == "lora" else f'method = "{loop.method}"')
    lines = [
        'name = "bench"', f"generations = {loop.generations}", f'devices = "{loop.devices}"', f"seed = {loop.seeds[0]}",
        *source,
        "[sample]", f"count = {loop.samples}", f"max_tokens = {loop.tokens}", 'end = "ignore"',
        f"concurrency = {loop.concurrency}",
        "[train]", f"epochs = {loop.epochs}", f"learning_rate = {loop.learning_rate}", f"batch_size = {loop.batch_size}",
        # What a run measures of its models is no part of a benchmark of the loop: as little of it as a recipe may ask for.
        "[measure]", "probes = 1", 'formats = ["cloze"]', "documents = 1", "drift = false", "resamples = 100",
        "pairwise = 2", "reference = 10",
        "[control]", "enabled = false",
    ]  # fmt: skip
    if len(loop.seeds) > 1:
        lines += ["[sweep]", f"seed = {loop.seeds}"]
    path = folder / "bench.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def made_up_text() -> str:
    return "".join(f"In the year {7919 * line % 10_000} harbour {line} was rebuilt.\n" for line in range(TEXT_LINES))


def llama_config(shape: LlamaShape, **more: Any) -> Any:
    """A Llama of this shape, as transformers configures it."""
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
        **more,
    )


def random_model(name: str) -> Path:
    """Folder of a Llama of this shape with random weights, made if missing. Weights have 16 bits on a GPU and 32 on a CPU."""
    import torch

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    folder = cache_folder() / "bench-models" / f"{name}-{str(dtype).removeprefix('torch.')}"
    if folder.is_dir():
        return folder
    from autophage.data.tokens import byte_pair_tokenizer

    shape = SHAPES[name]
    folder.parent.mkdir(parents=True, exist_ok=True)
    require_room(folder.parent, shape.parameters * dtype.itemsize)
    tokenizer = byte_pair_tokenizer(made_up_text().splitlines(keepends=True), 2000)
    config = llama_config(
        shape,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=str(dtype).removeprefix("torch."),
    )
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        config.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_weights(shape, dtype, scratch / "model.safetensors")
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return folder


def require_room(folder: Path, size: int) -> None:
    """Check the disk before gigabytes are written.

    Raises:
        UserError: fewer than `size` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{folder}: random weights need {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. "
            "Set AUTOPHAGE_CACHE to a folder with room, for example below /dev/shm."
        )
