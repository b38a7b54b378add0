"""Text files of the user: which files of a folder are read, and how their bytes become text.

A byte order mark decides between UTF-8, UTF-16 and UTF-32. Without one a file is UTF-8. A file is never guessed to be
anything else. Text with NUL characters is refused: UTF-16 without a mark is valid UTF-8 with a NUL at every other byte.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from autophage.data.pointers import refuse_pointer
from autophage.display import plural
from autophage.errors import UserError

SUFFIXES = (".txt", ".md", ".text")
"""Suffixes of the files that are read from a folder, in any case."""
FOREIGN_FOLDERS = ("__MACOSX", "__pycache__")
"""Folders that archives and programs leave behind. Hidden names, which begin with a dot, are left out as well."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose little-endian mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by byte order mark."""
NUL_SAMPLE = 4096
"""Characters from which the byte order of text with NULs is told."""


@dataclass(frozen=True)
class FolderFiles:
    """The text files of a folder and its subfolders, sorted by path, and the number of files that are left out."""

    read: list[Path]
    left_out: int

    @property
    def note(self) -> str:
        """Message for the user that counts both; empty if nothing is left out."""
        if not self.left_out:
            return ""
        return (
            f"read {plural(len(self.read), 'file')} and left out {self.left_out}: hidden ones, and those without one of the "
            f"suffixes {', '.join(SUFFIXES)}"
        )


def text_files(folder: Path) -> FolderFiles:
    """Return the text files of a folder. Hidden files and folders, and those of `FOREIGN_FOLDERS`, are left out."""
    read, left_out = [], 0
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in FOREIGN_FOLDERS for part in parts)
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            left_out += 1
        else:
            read.append(path)
    return FolderFiles(read, left_out)


def is_hidden(path: Path) -> bool:
    """Return True if the file's own name begins with a dot, like the `._name` files of macOS archives."""
    return path.name.startswith(".")


def read_file(path: Path) -> str:
    """Return the text of a file in UTF-8, or in the encoding that its byte order mark names. The mark is left out.

    Raises:
        UserError: The file cannot be read, is a Git LFS pointer, is not UTF-8, or holds NUL characters.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    refuse_pointer(path)
    encoding = _marked(content) or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UserError(
                f"{path}: begins with the byte order mark of {_shown(encoding)} and is not valid in it (position {error.start}). "
                "The file may be cut off."
            ) from None
        byte = error.object[error.start]
        advice = f"{_conversion(path, 'LATIN1')}, if it is Latin-1." if b"\0" not in content else "It is no plain text."
        raise UserError(f"{path}: is not UTF-8 (byte 0x{byte:02x} at position {error.start}). {advice}") from None
    if (place := text.find("\0")) >= 0:
        raise UserError(f"{path}: holds a NUL character at position {place}. {_advice_on_nul(path, text)}")
    return text


def refuse_foreign_encoding(path: Path) -> None:
    """Refuse a text file that is not UTF-8, for readers that know no other encoding.

    Raises:
        UserError: The file is in another encoding, or is no text. The message gives the position or the encoding.
    """
    read_file(path)
    with path.open("rb") as opened:
        encoding = _marked(opened.read(4))
    if encoding not in (None, "utf-8-sig"):
        raise UserError(f"{path}: is {_shown(encoding)}, not UTF-8. {_conversion(path, _shown(encoding))}.")


def _marked(content: bytes) -> str | None:
    return next((name for mark, name in MARKS.items() if content.startswith(mark)), None)


def _shown(encoding: str) -> str:
    return encoding.upper().removesuffix("-SIG")


def _conversion(path: Path, encoding: str) -> str:
    return f"Convert it: `iconv -f {encoding} -t UTF-8 {path.name} > {path.stem}.utf8{path.suffix}`"


def _advice_on_nul(path: Path, text: str) -> str:
    sample = text[:NUL_SAMPLE]
    shares = [sample[place::4].count("\0") * 4 / len(sample) for place in range(4)]
    common = [share > 0.5 for share in shares]
    names: dict[tuple[bool, ...], str] = {
        (False, True, False, True): "UTF-16LE",
        (True, False, True, False): "UTF-16BE",
        (False, True, True, True): "UTF-32LE",
        (True, True, True, False): "UTF-32BE",
    }
    encoding = names.get(tuple(common))
    if encoding is None:
        return "It is no plain text. Remove the character, or leave the file out."
    return f"It looks like {encoding[:6]} without a byte order mark. {_conversion(path, encoding)}."
