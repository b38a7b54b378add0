"""Names that become paths: what a file system can be asked for, and what stays inside the folder that it is joined to.

Names come from recipes, and from manifests that somebody else may have written. Touches no file.
"""

from __future__ import annotations

from pathlib import PurePosixPath

LONGEST_PATH, LONGEST_PART = 4095, 255
"""Bytes of a path and of a name in it (Linux): what is longer names no file, and asking for it is an error."""


def require_nameable(path: str) -> str:
    """`path`, which a file system can be asked for; `ValueError` with what is wrong where it cannot."""
    if "\0" in path:
        raise ValueError("a path with a null character")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ValueError("a path that is not UTF-8 text") from None
    if len(encoded) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in encoded.split(b"/")):
        raise ValueError(f"too long for a path, in which a name has at most {LONGEST_PART} bytes")
    return path


def require_inside(name: str) -> str:
    """`name`, which leads to a file in the folder that it is joined to; `ValueError` where it may lead elsewhere."""
    path = PurePosixPath(require_nameable(name))
    if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        raise ValueError(f"{name!r} does not name a file inside the folder")
    return name
