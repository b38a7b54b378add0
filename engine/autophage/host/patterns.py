"""Paths that are more than a path: patterns, with brackets, a star or a question mark in a name; and URLs."""

from __future__ import annotations

import re

SPECIAL = re.compile(r"[*?\[\]]|::")
"""Characters of a pattern for `glob`, and the sign of a chain of file systems for fsspec."""


URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
"""Start of a URL. As a path it names a folder with a colon at its end, which nobody means."""


def is_url(path: str) -> bool:
    """Return True if a path is the URL of a store or server."""
    return URL.match(path) is not None


def is_pattern(path: str) -> bool:
    """Return True if `glob` or fsspec would not take a path literally."""
    return SPECIAL.search(path) is not None
