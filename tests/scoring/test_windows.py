"""Windows score every token but a document's first once, with context."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autophage.errors import UserError
from autophage.scoring.windows import ContextWindow, read_documents, windows


@given(length=st.integers(0, 200), context=st.integers(2, 50), data=st.data())
def test_each_token_is_scored_once(length: int, context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context))
    found = list(windows(length, context, stride))
    scored = [token for window in found for token in range(window.first, window.end)]
    lost = set(range(0, length, stride)) if stride == context else {0}
    assert scored == [token for token in range(length) if token not in lost]
    assert all(window.begin < window.first < window.end <= window.begin + context for window in found)


def test_the_windows_of_the_documented_recipe() -> None:
    assert list(windows(10, 6, 3)) == [ContextWindow(0, 1, 6), ContextWindow(3, 6, 9), ContextWindow(6, 9, 10)]
    assert list(windows(1, 6, 3)) == list(windows(0, 6, 3)) == []


def test_documents_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two", "utf-8")
    (tmp_path / "a.md").write_text("one", "utf-8")
    (tmp_path / "c.png").write_bytes(b"\xff")
    found = read_documents(tmp_path)
    assert [(one.name, one.text) for one in found.texts] == [("a.md", "one"), ("b.txt", "two")]
    assert found.note.startswith("read 2 files and left out 1")
    assert not read_documents(tmp_path / "b.txt").note


@pytest.mark.parametrize("content", [b"", b" \n", b"caf\xe9"])
def test_what_cannot_be_scored_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text\.txt"):
        read_documents(path)
    with pytest.raises(UserError, match="no such file"):
        read_documents(tmp_path / "nothing")
