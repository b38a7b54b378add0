"""Is everything that a run would write and read inside its directory? Names are checked where they are read; this checks links.

A run directory may come from somebody else, or from an archive. A link in the place of an arm, a generation or a file would
lead reads and writes out of it. That the run directory itself is a link, as to a larger disk, is its owner's own doing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autophage.errors import UserError
from autophage.store.rundir import RunDirectory


def require_confined(run: RunDirectory) -> None:
    """Raise a `UserError` that names the first link of a run directory that leads out of it."""
    root = run.root.resolve()
    for path in _links(run):
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"{path}: is a link that leads out of the run directory, to {path.resolve()}. Put in its place what it points "
                "to, or give another directory; that the run directory itself is a link does no harm."
            )


def _links(run: RunDirectory) -> Iterator[Path]:
    for pattern in ("*", "arms/*", "arms/*/gen-*", "arms/*/gen-*/*", "arms/*/gen-*/*/*"):
        yield from (path for path in sorted(run.root.glob(pattern)) if path.is_symlink())
