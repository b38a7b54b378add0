"""Seeds that are derived from the purpose of a random choice.

Every random choice of a run takes its seed from the run's seed and a path of names. No generator is shared. The order
of work, resuming and the number of machines therefore cannot change it.
"""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *path: str | int) -> int:
    """Return a 63-bit seed for `path` under `seed`.

    It comes from BLAKE2b of both. Different paths give independent seeds.
    """
    key = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: str | int) -> random.Random:
    """Return a new random generator for `path` under `seed`."""
    return random.Random(derive(seed, *path))
