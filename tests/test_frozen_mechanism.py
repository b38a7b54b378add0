"""The comparison behind the frozen public surfaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.frozen import UPDATE, require_frozen


@pytest.fixture(autouse=True)
def comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UPDATE, raising=False)


def test_equal_entries_pass(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("seed = 1\n")
    require_frozen("keys", ["seed = 1"], folder=tmp_path)


@pytest.mark.parametrize("entries", [[], ["seed = 2"], ["seed = 1", "name"]])
def test_a_change_is_told_with_what_to_do(tmp_path: Path, entries: list[str]) -> None:
    (tmp_path / "keys.txt").write_text("seed = 1\n")
    with pytest.raises(AssertionError, match=r"keys is a public surface(.|\n)*AUTOPHAGE_UPDATE_FROZEN=1"):
        require_frozen("keys", entries, folder=tmp_path)


def test_a_surface_without_a_file_is_a_change(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"\+ seed = 1"):
        require_frozen("keys", ["seed = 1"], folder=tmp_path)


def test_the_variable_writes_the_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPDATE, "1")
    require_frozen("keys", ["seed = 2"], folder=tmp_path)
    monkeypatch.delenv(UPDATE)
    require_frozen("keys", ["seed = 2"], folder=tmp_path)
