"""Atomic writes: after a crash a file has its old content or its new content, never a mixture.

A file is written under a temporary name in its own folder and fsynced. It is then renamed over its final name (POSIX
rename), and the folder is fsynced.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autophage.store.fault_points import reach

UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
"""Error numbers of a file system that has no such operation. A disk that fails to sync gives others, such as EIO."""
TEMPORARY = ".partial"
"""Suffix of files that are being written. Readers ignore them, and `clear_temporary` removes them."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary absolute path, which replaces `path` on success.

    On an error the temporary file is removed, and `path` stays as it was.
    """
    path = local(path)
    make_folder(path.parent)
    temporary = path.with_name(path.name + TEMPORARY)
    reach("open", path)
    try:
        yield temporary
        reach("write", path, torn=temporary)
        sync_file(temporary)
        reach("fsync", path)
        os.replace(temporary, path)
        reach("replace", path)
        sync_folder(path.parent)
        reach("fsync-folder", path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def local(path: Path) -> Path:
    """Return `path` as an absolute path. pyarrow takes a relative one with a colon, like `exp:1/corpus`, for a URI."""
    return path.absolute()


def make_folder(path: Path) -> None:
    """Make the folder `path` and its missing parents. Each is durable in its parent before it gets content."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        reach("mkdir", path)
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode("utf-8"))


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from error
    finally:
        os.close(descriptor)


def named(error: OSError, path: Path) -> OSError:
    """Return an error of an open file with the file's path. The system knows only its number."""
    return OSError(error.errno, error.strerror, str(path))


def sync_folder(path: Path) -> bool:
    """Make renames inside the folder `path` durable (fsync). Return False on a file system that cannot do this.

    Some (FUSE, some NFS and SMB mounts) refuse to fsync a folder. A rename is atomic there too, but may be lost in a power
    failure.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise named(error, path) from error
        return False
    finally:
        os.close(descriptor)
    return True


def unsynced_note(folder: Path) -> str:
    """Return a message for the user if the file system of `folder` cannot make renames durable; else an empty text."""
    if sync_folder(folder):
        return ""
    return f"the file system of {folder} cannot fsync folders: a power failure may undo the last commits"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clear_temporary(folder: Path) -> None:
    """Remove temporary files of an interrupted writer, in `folder` and below."""
    for leftover in folder.rglob(f"*{TEMPORARY}"):
        reach("clear", leftover)
        leftover.unlink(missing_ok=True)
