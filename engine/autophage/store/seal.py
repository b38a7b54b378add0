"""JSON files that detect their own damage: the key `seal` is the SHA-256 of the rest.

Reading writes the content again and compares it byte for byte, so that no flipped bit passes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from autophage.errors import StoreError

SEAL = "seal"
MARK = "seal:sha256:"
"""Text before the SHA-256 in the value of a seal."""


def sealed(content: dict[str, Any], indent: int) -> str:
    """Return `content` as JSON text, with its SHA-256 under the key `seal`."""
    return _text({**content, SEAL: MARK + hashlib.sha256(_text(content, indent).encode()).hexdigest()}, indent)


def unsealed(path: Path, indent: int) -> dict[str, Any]:
    """Read a file that `sealed` wrote with the same `indent`, and return its content without the seal.

    Raises:
        StoreError: The file is not a JSON object, has no seal, or was changed.
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
        raise StoreError(f"{path}: was changed or damaged: its seal does not match")
    return content


def _text(content: dict[str, Any], indent: int) -> str:
    return json.dumps(content, indent=indent, sort_keys=True) + "\n"
