"""The header of a GGUF file: its metadata and the shapes of its tensors, without the package `gguf`.

    "GGUF"  version u32  tensors u64  entries u64  { key, type u32, value } ...  { name, dimensions, type u32, offset u64 } ...

Strings have a length of 8 bytes before them. All numbers are little-endian. Arrays are read as their lengths, because the
vocabulary would be the most of a header. No tensor is read (github.com/ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from autophage.errors import UserError

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""Type of a value -> its form for `struct`."""
STRING, ARRAY = 8, 9
FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 30
"""Types of tensors that are not quantised."""
LONGEST = 1 << 24
"""Most bytes of a string. A chat template has thousands."""


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself.

    `metadata` maps a key to a value. Of an array it has the length. `tensors` maps a name to the shape, innermost first,
    and the type of elements.
    """

    metadata: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int]]

    def of_architecture(self, key: str) -> Any:
        """Return the value of a key of the model's architecture, such as "block_count"; None without it."""
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}")

    @property
    def matrix_type(self) -> int:
        """The type of elements of most weights that are matrices."""
        counts: dict[int, int] = {}
        for shape, kind in self.tensors.values():
            if len(shape) > 1:
                counts[kind] = counts.get(kind, 0) + shape[0] * shape[1]
        return max(counts, key=lambda kind: counts[kind], default=FLOAT32)

    @property
    def start_id(self) -> int | None:
        """Id of the token that the model expects before a text; None if it expects none.

        A file that does not say follows llama.cpp: SentencePiece vocabularies have one, byte-level ones do not.
        """
        default = self.metadata.get("tokenizer.ggml.model") == "llama"
        wanted = self.metadata.get("tokenizer.ggml.add_bos_token", default)
        return self.metadata.get("tokenizer.ggml.bos_token_id") if wanted else None


def is_gguf(path: str) -> bool:
    """Return True if a path is that of a GGUF file, which need not exist."""
    return path.lower().endswith(SUFFIX)


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        UserError: The file is missing, cut, of another format, or a part of a model.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path}: its header is cut or damaged ({type(error).__name__}: {error}). Copy the file again."
        ) from error


def _read(file: BinaryIO, path: Path) -> GgufHeader:
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise UserError(
            f"{path}: is no GGUF file (it begins with {magic!r}). Download it again, or give a model folder."
        )
    version, tensors, entries = _unpack(file, "<I"), _unpack(file, "<Q"), _unpack(file, "<Q")
    if version not in VERSIONS:
        raise UserError(f"{path}: has version {version} of GGUF. Versions {VERSIONS[0]} and {VERSIONS[1]} can be read.")
    metadata = {}
    for _ in range(entries):
        key = _string(file)
        metadata[key] = _value(file, _unpack(file, "<I"))
    shapes: dict[str, tuple[tuple[int, ...], int]] = {}
    last = 0
    for _ in range(tensors):
        name = _string(file)
        shape = tuple(_unpack(file, "<Q") for _ in range(_unpack(file, "<I")))
        shapes[name] = (shape, _unpack(file, "<I"))
        last = max(last, _unpack(file, "<Q"))
    if int(metadata.get("split.count") or 1) > 1:
        raise UserError(
            f"{path}: is one of {metadata['split.count']} parts of a model. Join them with `llama-gguf-split --merge`, and give "
            "the whole file."
        )
    if file.tell() + last >= path.stat().st_size:
        raise UserError(f"{path}: ends before its last tensor. It was cut on its way; copy it again.")
    return GgufHeader(metadata, shapes)


def _unpack(file: BinaryIO, form: str) -> Any:
    (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return value


def _string(file: BinaryIO) -> str:
    length = _unpack(file, "<Q")
    if length > LONGEST:
        raise OverflowError(f"a string of {length} bytes")
    return file.read(length).decode("utf-8")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _unpack(file, NUMBERS[kind])
    inner, count = _unpack(file, "<I"), _unpack(file, "<Q")
    if inner in NUMBERS:
        file.seek(count * struct.calcsize(NUMBERS[inner]), 1)
    else:
        for _ in range(count):
            _value(file, inner)
    return count
