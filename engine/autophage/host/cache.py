"""The cache folder, for files that can be made again: `AUTOPHAGE_CACHE`, else `XDG_CACHE_HOME/autophage`."""

from __future__ import annotations

import os
from pathlib import Path

from autophage.errors import UserError


def cache_folder() -> Path:
    """Return the cache folder of this process. It may not exist yet.

    Raises:
        UserError: The process has no home folder, and no variable names another.
    """
    if own := os.environ.get("AUTOPHAGE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "autophage"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # no HOME, and no entry for this user id, as in some containers
        raise UserError(
            f"this process has no home folder (user id {os.getuid()}, HOME is not set). Set AUTOPHAGE_CACHE to a folder that it "
            "may write to."
        ) from error
