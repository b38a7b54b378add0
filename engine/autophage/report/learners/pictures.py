"""Images that a learner drew: one PNG for each generation, with a grid of the first images of its corpus.

Images are picked by place, never by content.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from autophage.report.facts.corpora import shown_generations
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.store.manifest import shards, true_file
from autophage.store.numbers import read_numbers
from autophage.store.rundir import RunDirectory

ROWS, COLUMNS = 6, 6
"""Rows and columns of a grid of images."""
LINES = 6
"""Most generations shown for an arm."""
GAP = 2
"""Pixels between images."""


@dataclass(frozen=True)
class ArmPictures:
    """Grids of the images that a learner drew, for one arm.

    `images` are (generation, data URI of a PNG). Generations in `missing` have no corpus in the directory.
    """

    arm: str
    images: list[tuple[int, str]]
    missing: list[int]


def arm_pictures(run: RunDirectory, facts: RunFacts) -> list[ArmPictures]:
    """Return the image grids of every arm; empty unless the learner draws images."""
    if facts.recipe.learner.kind != "vae":
        return []
    return [pictures for arm in facts.arms if (pictures := _of(run, arm)).images or pictures.missing]


def _of(run: RunDirectory, arm: ArmFacts) -> ArmPictures:
    images, missing = [], []
    for generation in shown_generations(arm.last, LINES):
        paths = shards(run, arm.manifests[generation])[:1]
        if all(path.is_file() for path in paths):
            paths = [true_file(run, arm.manifests[generation], path.name) for path in paths]
            images.append((generation, data_uri(grid(read_numbers(paths)[: ROWS * COLUMNS]))))
        else:
            missing.append(generation)
    return ArmPictures(arm.name, images, missing)


def grid(images: np.ndarray) -> np.ndarray:
    """Arrange square images [n, side * side] row by row as one grey image.

    Their values are 0 to 1. The result is [height, width] of bytes.
    """
    side = math.isqrt(images.shape[1])
    rows = -(-len(images) // COLUMNS)
    canvas = np.zeros((rows * (side + GAP) + GAP, COLUMNS * (side + GAP) + GAP), dtype=np.uint8)
    for place, image in enumerate(np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)):
        row, column = divmod(place, COLUMNS)
        top, left = GAP + row * (side + GAP), GAP + column * (side + GAP)
        canvas[top : top + side, left : left + side] = image.reshape(side, side)
    return canvas


def data_uri(picture: np.ndarray) -> str:
    """Return grey bytes [height, width] as the data URI of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def png(picture: np.ndarray) -> bytes:
    """Encode grey bytes [height, width] as PNG (ISO/IEC 15948), without filter or metadata."""
    height, width = picture.shape
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), picture], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, content = part
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
