"""Seeds that depend on what they are for, and on nothing else.

Every random choice of a run takes its seed from the run's seed and a path of names, never from a shared generator, so
order of work, resuming and the number of machines cannot change it.
"""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for `path` under `seed`: BLAKE2b of both. Different paths give independent seeds."""
    key = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: str | int) -> random.Random:
    """A generator of its own for `path` under `seed`."""
    return random.Random(derive(seed, *path))
