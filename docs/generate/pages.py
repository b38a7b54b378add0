"""Files outside of `docs/` that are pages of the site as well: they are kept where a reader of the sources looks for them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "recipes/README.md": "project/recipes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "tests/crash/FAULTS.md": "project/fault-cases.md",
}
"""File of the repository -> page of the site."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://|mailto:|#)([^)\s]+)\)")


def content(source: str) -> str:
    """The file as a page: links to other pages are turned towards these, and links to source files become their paths."""
    text = (ROOT / source).read_text("utf-8")
    return LINK.sub(lambda link: _turned(source, link[1], link[2]), text)


def _turned(source: str, label: str, target: str) -> str:
    path, _, anchor = target.partition("#")
    found = (ROOT / source).parent.joinpath(path).resolve()
    if not found.exists():
        raise FileNotFoundError(f"{source}: links to {target}, which does not exist")
    inside = str(found.relative_to(ROOT))
    page = PAGES.get(inside) or (inside.removeprefix("docs/") if inside.startswith("docs/") else None)
    if page is None:
        return label if label.startswith("`") else f"{label} (`{inside}`)"
    return f"[{label}](../{page}{'#' + anchor if anchor else ''})"
