"""Refuse run directories whose links lead out of them.

A run directory may come from another person or from an archive. A link in the place of an arm, a generation or a file
would redirect reads and writes. The run directory itself may be a link, such as to a larger disk. Names in manifests are
checked where they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autophage.errors import UserError
from autophage.store.rundir import RunDirectory


def require_confined(run: RunDirectory) -> None:
    """Check that no link in a run directory leads out of it.

    Raises:
        UserError: A link leads out. The message names the first.
    """
    root = run.root.resolve()
    for path in _links(run):
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"{path}: is a link that leads out of the run directory, to {path.resolve()}. Replace the link with a copy "
                "of its target, or give another directory. The run directory itself may be a link."
            )


def _links(run: RunDirectory) -> Iterator[Path]:
    for pattern in ("*", "arms/*", "arms/*/gen-*", "arms/*/gen-*/*", "arms/*/gen-*/*/*"):
        yield from (path for path in sorted(run.root.glob(pattern)) if path.is_symlink())
