"""Folders of the cache that are made once, whole or not at all.

A folder is complete if it is there, because it is renamed into place. Two processes that want the same one wait for each
other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from autophage.store.atomic import sync_file, sync_folder
from autophage.store.fault_points import reach
from autophage.store.lock import one_at_a_time


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`. If it is not there, `make` fills an empty folder, which then takes its name."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder.with_suffix(".lock")):
        if not folder.is_dir():
            # The lock excludes other processes, so a partial folder belongs to a process that died.
            for abandoned in folder.parent.glob(f".{folder.name}-*"):
                shutil.rmtree(abandoned)
            scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
            try:
                make(scratch)
                reach("write", scratch)
                for file in scratch.iterdir():
                    sync_file(file)
                sync_folder(scratch)
                reach("fsync", scratch)
                _move(scratch, folder)
                reach("rename", folder)
                sync_folder(folder.parent)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _move(scratch: Path, folder: Path) -> None:
    """Give the finished folder its name. Where the file system has no locks, another process may have been faster."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
