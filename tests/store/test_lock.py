from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from autophage.errors import UserError
from autophage.store.atomic import sync_folder, unsynced_note, write_text
from autophage.store.lock import OWNER, RunLock, is_locked, one_at_a_time


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without flock."""

    def refuse(file: object, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_flock_a_file_names_the_owner(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with RunLock(path) as held:
        assert "has no locks (flock: " in held.note
        assert is_locked(path)
        with pytest.raises(UserError, match=f"pid {os.getpid()}"), RunLock(path):
            pass
    assert not is_locked(path)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


@pytest.mark.usefixtures("no_locks")
def test_a_dead_owner_is_followed_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    path, owner = tmp_path / ".lock", tmp_path / f".lock{OWNER}"
    path.touch()
    died = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = {"host": socket.gethostname(), "pid": int(died.stdout), "started": 1}
    for left in (dead, dead | {"pid": os.getpid()}, "torn"):  # dead, its pid used again, torn by a crash
        owner.write_text(json.dumps(left)[: None if left != "torn" else 3], "utf-8")
        assert not is_locked(path)
        with RunLock(path):
            assert json.loads(owner.read_text("utf-8"))["pid"] == os.getpid()
    owner.write_text(json.dumps(dead | {"host": "elsewhere"}), "utf-8")
    assert is_locked(path)
    with pytest.raises(UserError, match=rf"process {dead['pid']} of elsewhere .* remove {owner}"), RunLock(path):
        pass


@pytest.mark.usefixtures("no_locks")
def test_makers_of_a_cached_model_go_on_without_locks(tmp_path: Path) -> None:
    with one_at_a_time(tmp_path / "model.lock"):
        pass


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: object, operation: int) -> None:
        raise OSError(errno.EIO, "i/o error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="i/o error"), RunLock(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, passes: bool
) -> None:
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    assert unsynced_note(tmp_path) == ""
    monkeypatch.setattr(os, "fsync", refuse)
    if passes:
        write_text(tmp_path / "a.txt", "words")
        assert (tmp_path / "a.txt").read_text("utf-8") == "words"
        assert not sync_folder(tmp_path)
        assert "cannot fsync folders" in unsynced_note(tmp_path)
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            write_text(tmp_path / "a.txt", "words")
