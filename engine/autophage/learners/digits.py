"""Images of handwritten digits for the VAE: MNIST from a folder of its four files, or drawn digits.

A drawn digit is a few strokes under a random affine map. Their points have a jitter, and the pen is random. This
variety is enough for a small VAE to lose. All images are 28 x 28 with values k / 255, as in image files. Every image
is a function of a seed.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
from pathlib import Path
from typing import Protocol

import numpy as np

from autophage.errors import UserError
from autophage.seeds import derive

SIDE = 28
PIXELS = SIDE * SIDE


class Images(Protocol):
    """A source of images of handwritten digits.

    Images are float32 `[count, PIXELS]` with values from 0 to 1.
    """

    @property
    def digest(self) -> str:
        """Name of the images. Equal names mean equal images."""
        ...

    def draw(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` images, drawn with `seed`, and the digit of each as an integer `[count]`."""
        ...

    def held_out(self, count: int) -> np.ndarray:
        """Return at most `count` images that are kept for measurement. No draw returns them."""
        ...


def as_stored(images: np.ndarray) -> np.ndarray:
    """Return `images` with values from 0 to 1 rounded to the 256 levels of an image file, as float32."""
    levels: np.ndarray = np.round(np.clip(images, 0.0, 1.0) * 255) / np.float32(255)
    return levels.astype(np.float32)


class Drawn:
    """A source of digits drawn from strokes. `seed` fixes the held-out images, and each draw has its own seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.digest = f"drawn digits, held-out by seed {seed}"

    def draw(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(10, size=count)
        images = np.empty((count, PIXELS), dtype=np.float32)
        for digit, strokes in enumerate(STROKES):
            places = np.flatnonzero(labels == digit)
            images[places] = _drawn(strokes, len(places), rng)
        return images, labels

    def held_out(self, count: int) -> np.ndarray:
        return self.draw(derive(self._seed, "held-out", "digits"), count)[0]


def _arc(x: float, y: float, rx: float, ry: float, first: float, last: float) -> list[tuple[float, float]]:
    """Return 11 points on an ellipse between two angles in degrees. Angle 0 points right, 90 down.

    The centre is `(x, y)`, and `rx` and `ry` are the radii.
    """
    angles = [math.radians(first + (last - first) * place / 10) for place in range(11)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


STROKES: tuple[tuple[list[tuple[float, float]], ...], ...] = (
    (_arc(0.5, 0.5, 0.3, 0.45, 0, 360),),
    ([(0.35, 0.22), (0.55, 0.05), (0.55, 0.95)],),
    ([*_arc(0.5, 0.3, 0.3, 0.25, 190, 380), (0.2, 0.95), (0.82, 0.95)],),
    ([*_arc(0.45, 0.27, 0.3, 0.22, 200, 450), *_arc(0.45, 0.72, 0.33, 0.24, 270, 510)],),
    ([(0.65, 0.95), (0.65, 0.05), (0.15, 0.65), (0.87, 0.65)],),
    ([(0.78, 0.05), (0.28, 0.05), (0.25, 0.45), *_arc(0.47, 0.67, 0.32, 0.27, 230, 500)],),
    ([(0.7, 0.05), (0.35, 0.35), *_arc(0.5, 0.7, 0.28, 0.25, 190, 540)],),
    ([(0.18, 0.05), (0.82, 0.05), (0.4, 0.95)],),
    (_arc(0.5, 0.27, 0.23, 0.21, 90, 450), _arc(0.5, 0.72, 0.29, 0.24, 270, 630)),
    ([*_arc(0.5, 0.3, 0.26, 0.24, 0, 360), (0.66, 0.95)],),
)
"""Strokes of each digit 0 to 9. A stroke is a list of points `(x, y)` in the unit square, with y downwards."""
BOX = 18.0
"""Side of the unit square in pixels, before scaling."""


def _drawn(strokes: tuple[list[tuple[float, float]], ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` randomly distorted images of the digit that `strokes` describe, `[count, PIXELS]`."""
    starts = np.array([point for stroke in strokes for point in stroke[:-1]])
    ends = np.array([point for stroke in strokes for point in stroke[1:]])
    turn, shear = rng.normal(0, 0.13, count), rng.normal(0, 0.18, count)
    wide, high = rng.uniform(0.75, 1.1, count), rng.uniform(0.85, 1.1, count)
    cosine, sine = np.cos(turn), np.sin(turn)
    # affine[i] = rotation @ shear @ scale, about the middle of the square
    affine = np.stack(
        [np.stack([cosine * wide, high * (cosine * shear - sine)], 1),
         np.stack([sine * wide, high * (sine * shear + cosine)], 1)], 1,
    )  # fmt: skip
    centre = (SIDE - 1) / 2 + rng.normal(0, 0.8, (count, 1, 2))
    jitter = rng.normal(0, 0.012, (count, *starts.shape))
    first = (starts - 0.5 + jitter) @ affine.transpose(0, 2, 1) * BOX + centre
    last = (ends - 0.5 + np.roll(jitter, -1, axis=1)) @ affine.transpose(0, 2, 1) * BOX + centre
    pen = rng.uniform(0.9, 1.7, (count, 1))
    ink = np.clip(pen + 0.5 - _distance(first, last), 0.0, 1.0) * rng.uniform(0.85, 1.0, (count, 1))
    return as_stored(ink)


def _distance(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the distance in pixels of every pixel to its nearest line segment, `[count, PIXELS]`.

    Each image has S segments. They run from `first` to `last`, both `[count, S, 2]` in pixels.
    """
    y, x = np.divmod(np.arange(PIXELS), SIDE)
    pixels = np.stack([x, y], 1).astype(np.float64)
    nearest = np.full((len(first), PIXELS), np.inf)
    for segment in range(first.shape[1]):
        start, along = first[:, segment, None], (last - first)[:, segment, None]
        length = np.maximum((along**2).sum(-1), 1e-9)
        share = np.clip(((pixels - start) * along).sum(-1) / length, 0.0, 1.0)
        nearest = np.minimum(nearest, np.sqrt(((pixels - start - share[..., None] * along) ** 2).sum(-1)))
    return nearest


class Mnist:
    """A source of digits from the four files of MNIST in `folder`, with or without gzip.

    The test images are held out.

    Raises:
        UserError: A file is missing or unusable.
    """

    def __init__(self, folder: Path) -> None:
        self._images = _read(folder, "train-images", "idx3-ubyte").reshape(-1, PIXELS)
        self._labels = _read(folder, "train-labels", "idx1-ubyte")
        self._held_out = _read(folder, "t10k-images", "idx3-ubyte").reshape(-1, PIXELS)
        _read(folder, "t10k-labels", "idx1-ubyte")
        if len(self._images) != len(self._labels):
            raise UserError(f"source.path = '{folder}': {len(self._images)} images, but {len(self._labels)} labels.")
        self.digest = hashlib.sha256(self._images.tobytes() + self._held_out.tobytes()).hexdigest()

    def draw(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` random training images and the digit of each. All images are drawn once before any repeats."""
        rng = np.random.default_rng(seed)
        rounds = [rng.permutation(len(self._images)) for _ in range(-(-count // len(self._images)))]
        places = np.concatenate(rounds)[:count]
        return as_stored(self._images[places] / 255), self._labels[places].astype(np.int64)

    def held_out(self, count: int) -> np.ndarray:
        return as_stored(self._held_out[:count] / 255)


def _read(folder: Path, name: str, suffix: str) -> np.ndarray:
    """Return the uint8 images or labels in one IDX file of MNIST, in the file's shape.

    The file's bytes are two zeros, type 8, the number of axes, their lengths (big-endian) and the values.

    Raises:
        UserError: The file is missing, or does not hold 28 x 28 images or labels.
    """
    names = [f"{name}{joint}{suffix}{packed}" for joint in "-." for packed in ("", ".gz")]
    path = next((folder / one for one in names if (folder / one).is_file()), None)
    if path is None:
        raise UserError(
            f"source.path = '{folder}': there is no {names[0]} or {names[1]}. Give the folder with the four files of "
            "MNIST, or leave source.path out to use drawn digits."
        )
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind, axes = struct.unpack_from(">HBB", content)[1:]
        lengths = struct.unpack_from(f">{axes}I", content, 4)
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(lengths)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise UserError(f"{path}: is not an IDX file ({error}). Fetch the files of MNIST again.") from error
    if kind != 8 or not len(values) or values.shape[1:] != (SIDE, SIDE)[: axes - 1]:
        raise UserError(
            f"{path}: has the shape {values.shape}. Files of MNIST hold 28 x 28 bytes per image, or labels."
        )
    return values
