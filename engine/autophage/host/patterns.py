"""Paths that libraries take for patterns, because a name in them has brackets, a star or a question mark."""

from __future__ import annotations

import re

SPECIAL = re.compile(r"[*?\[\]]|::")
"""Characters of a pattern for `glob`, and the sign of a chain of file systems for fsspec."""


def is_pattern(path: str) -> bool:
    """Return True if `glob` or fsspec would not take a path literally."""
    return SPECIAL.search(path) is not None
