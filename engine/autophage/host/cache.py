"""The cache folder, for files that can be made again: `AUTOPHAGE_CACHE`, else `XDG_CACHE_HOME/autophage`."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder of this process. It may not exist yet."""
    if own := os.environ.get("AUTOPHAGE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autophage"
