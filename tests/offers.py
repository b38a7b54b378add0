"""A plug-in package as an installer leaves it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE, MODULE = "odd-offers", "odd_offers"


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package that offers objects under a group of entry points. A second call replaces it.

    `offers` are pairs of a name and `module:attribute`. `code` is the package's only module, `odd_offers`.
    """
    site = tmp_path / "site"
    information = site / f"{MODULE}-1.0.dist-info"

    def install(group: str, *offers: tuple[str, str], code: str = "") -> None:
        information.mkdir(parents=True, exist_ok=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in offers)]
        (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (site / f"{MODULE}.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)

    return install
