"""JSON that says itself whether it is still what was written: `seal` is the SHA-256 of the rest.

Reading compares byte for byte with what the content would be written as, so that no flipped bit goes unseen.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from autophage.errors import StoreError

SEAL = "seal"
MARK = "seal:sha256:"
"""Prefix of the value."""


def sealed(content: dict[str, Any], indent: int) -> str:
    """`content` as JSON text with its seal."""
    return _text({**content, SEAL: MARK + hashlib.sha256(_text(content, indent).encode()).hexdigest()}, indent)


def unsealed(path: Path, indent: int) -> dict[str, Any]:
    """What `sealed` was given when `path` was written.

    Raises:
        StoreError: it is not JSON, or not what was written.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path}: is not a JSON object")
    content.pop(SEAL, None)
    if text != sealed(content, indent):
        raise StoreError(f"{path}: is not what was written: its seal does not fit")
    return content


def _text(content: dict[str, Any], indent: int) -> str:
    return json.dumps(content, indent=indent, sort_keys=True) + "\n"
