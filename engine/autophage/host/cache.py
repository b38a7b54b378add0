"""Where things that can be made again are kept between runs: `AUTOPHAGE_CACHE`, else `XDG_CACHE_HOME/autophage`."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    if own := os.environ.get("AUTOPHAGE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autophage"
