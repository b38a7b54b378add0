"""Links between files of the repository lead somewhere. Those of the site's pages are checked by its build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = sorted((ROOT / "docs").rglob("*.md"))
FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *SITE])
LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
SOURCE = re.compile(r"`((?:engine|kernels|tests|recipes|bench|deploy|examples|scripts|docs)/[\w./-]+)`")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files(file: Path) -> None:
    targets = [first or second for first, second in LINK.findall(file.read_text("utf-8"))]
    inside = [target.partition("#")[0] for target in targets if not re.match(r"https?:|mailto:|#", target)]
    made_by_the_build = (ROOT / "docs/project",)
    found = [(target, (file.parent / target).resolve()) for target in inside]
    assert [target for target, path in found if path.parent not in made_by_the_build and not path.exists()] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_sources_that_are_named_exist(file: Path) -> None:
    """Folders and files in code spelling; capital letters stand for a name of one's own."""
    named = [
        path for path in SOURCE.findall(file.read_text("utf-8")) if not re.search(r"\b[A-Z]{3,}\b", path.split(".")[0])
    ]
    assert [path for path in named if not (ROOT / path).exists()] == []
