from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from autophage.data.text_files import read_file, text_files
from autophage.data.text_source import read_text
from autophage.errors import UserError
from autophage.recipe.tables.source import SourceTable

TEXT = "Der Hafen wurde gebaut. Größe: fünf Meter, 港.\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_decides_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes((mark + TEXT).encode(encoding))
    assert read_file(path) == TEXT


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"), ("utf-32-le", "UTF-32LE"), ("utf-32-be", "UTF-32BE")],
)
def test_an_encoding_without_a_mark_is_refused_with_its_byte_order(tmp_path: Path, encoding: str, named: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("plain words " * 20).encode(encoding))
    with pytest.raises(UserError, match=f"NUL character at position .*iconv -f {named}"):
        read_file(path)


def test_a_lone_nul_is_refused_without_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"words " * 50 + b"\0" + b"words " * 50)
    with pytest.raises(UserError, match=r"position 300. It is no plain text"):
        read_file(path)


def test_a_packed_file_is_no_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"words"))
    with pytest.raises(UserError, match=r"is not UTF-8 .* It is no plain text"):
        read_file(path)


def test_a_pointer_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 987654\n", "utf-8")
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        read_file(path)


def test_utf_16_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("words".encode("utf-16")[:-1])
    with pytest.raises(UserError, match="byte order mark of UTF-16 and is not valid"):
        read_file(path)


def test_hidden_and_foreign_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.txt", "B.TXT", "sub/c.Md", ".git/d.txt", "sub/.ipynb_checkpoints/a-checkpoint.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words", "utf-8")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/a.txt").write_text("words", "utf-8")
    (tmp_path / "._a.txt").write_bytes(b"\x00\x05\x16\x07\xa3")
    (tmp_path / "picture.png").write_bytes(b"\x89")
    os.symlink("/nonexistent", tmp_path / "dangling.txt")
    os.symlink(tmp_path, tmp_path / "loop")
    found = text_files(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.read] == ["B.TXT", "a.txt", "sub/c.Md"]
    assert found.left_out == 6
    text = read_text(SourceTable(kind="text", path=str(tmp_path)))
    assert text.notes == (f"source.path: {found.note}",)
    assert found.note.startswith("read 3 files and left out 6: ")


def test_a_folder_of_text_alone_needs_no_note(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words", "utf-8")
    assert read_text(SourceTable(kind="text", path=str(tmp_path))).notes == ()
