"""Frozen public surfaces: recipe keys, CLI flags, columns of files, exports.

Each surface is a text file in `tests/frozen/` with one entry a line. A test computes the entries anew and compares them.
`AUTOPHAGE_UPDATE_FROZEN=1` writes a change on purpose.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_suffix("")
UPDATE = "AUTOPHAGE_UPDATE_FROZEN"


def require_frozen(surface: str, entries: Iterable[str], *, folder: Path = FOLDER) -> None:
    """Compare `entries` with the lines of `tests/frozen/SURFACE.txt`, or write them there with `AUTOPHAGE_UPDATE_FROZEN=1`.

    Raises:
        AssertionError: the entries differ from the lines, or there is no file.
    """
    file = folder / f"{surface}.txt"
    found = list(entries)
    assert all("\n" not in entry for entry in found), "an entry is one line"
    if os.environ.get(UPDATE) == "1":
        folder.mkdir(exist_ok=True)
        file.write_text("".join(f"{entry}\n" for entry in found), "utf-8")
        return
    frozen = file.read_text("utf-8").splitlines() if file.is_file() else []
    changes = [line for line in difflib.ndiff(frozen, found) if line[0] in "+-"]
    assert not changes, "\n".join(
        [
            f"{surface} is a public surface, and it changed (- frozen, + now):",
            *changes,
            f"If this is on purpose, run the test again with {UPDATE}=1, commit {file.name}, and say so in CHANGELOG.md.",
        ]
    )
