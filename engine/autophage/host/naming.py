"""Checks of names that become paths. They come from recipes and from manifests, which somebody else may have written.

No file is touched.
"""

from __future__ import annotations

from pathlib import PurePosixPath

LONGEST_PATH, LONGEST_PART = 4095, 255
"""Maximum bytes of a path, and of a name in it (Linux). The file system refuses longer ones with an error."""


def require_nameable(path: str) -> str:
    """Return `path` unchanged, if a file system can accept it.

    Raises:
        ValueError: a file system does not accept the path.
    """
    if "\0" in path:
        raise ValueError("a path with a null character")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ValueError("a path that is not UTF-8 text") from None
    if len(encoded) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in encoded.split(b"/")):
        raise ValueError(f"too long for a path; a name in it has at most {LONGEST_PART} bytes")
    return path


def require_inside(name: str) -> str:
    """Return `name` unchanged, if it names a file inside the folder that it is joined to.

    Raises:
        ValueError: joined to a folder, the name may lead out of it.
    """
    path = PurePosixPath(require_nameable(name))
    if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        raise ValueError(f"{name!r} does not name a file inside the folder")
    return name
