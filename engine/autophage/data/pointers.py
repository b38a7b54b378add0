"""Git LFS pointers: small files that stand where a large file was not downloaded."""

from __future__ import annotations

from pathlib import Path

from autophage.errors import UserError

FIRST_BYTES = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(file: Path) -> None:
    """Refuse a file that is a Git LFS pointer.

    Raises:
        UserError: It is one.
    """
    with file.open("rb") as opened:
        if opened.read(len(FIRST_BYTES)) == FIRST_BYTES:
            raise UserError(
                f"{file}: is a Git LFS pointer, not the file itself. Download it: `git lfs pull` in its repository."
            )
