"""Keeps compiled Python files where the environment forbids them beside their sources.

Containers often set `PYTHONDONTWRITEBYTECODE`, or run as a user who may not write into the environment. Each process then
compiles all that it imports: torch, transformers, vLLM and Ray are some 5,000 files, and take three times as long to import.
The files go into the user's own cache folder instead. No other user may write there, because Python runs what it finds.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

FORBIDDEN, FOLDER = "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"
LARGEST = "torch"
"""The package whose folder shows whether the environment is compiled."""


def keep() -> None:
    """Let this process and its children keep compiled files in the user's cache folder, if they would keep none.

    Nothing changes where the environment is compiled, can be, or where the user has chosen a folder.
    """
    if os.environ.get(FOLDER) or sys.pycache_prefix or not _compiles_each_time():
        return
    folder = _private_folder()
    if folder is None:
        return
    os.environ.pop(FORBIDDEN, None)
    os.environ[FOLDER] = sys.pycache_prefix = str(folder)
    sys.dont_write_bytecode = False


def _compiles_each_time() -> bool:
    """Return True if the environment holds no compiled files, and Python would write none."""
    package = find_spec(LARGEST)
    if package is None or package.origin is None:
        return False
    folder = Path(package.origin).parent
    return not (folder / "__pycache__").exists() and (sys.dont_write_bytecode or not os.access(folder, os.W_OK))


def _private_folder() -> Path | None:
    """Return the folder for compiled files. Return None if there is none that only this user may write to."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(home, "autophage", "bytecode")
    if not folder.is_absolute():
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:  # no home, or one that cannot be written to: compiled each time, as without this
        return None
    private = state.st_uid == os.getuid() and not state.st_mode & 0o022
    return folder if private and os.access(folder, os.W_OK) else None
