"""Output that is closed, full or of another alphabet, with the real command in a process of its own."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from autophage.cli import main

pytestmark = pytest.mark.thorough

RUN = "run curse-gaussian --set generations=2"


def autophage(arguments: str, redirect: str = "", folder: Path | None = None, **variables: str) -> tuple[int, str]:
    command = f"{shlex.quote(sys.executable)} -m autophage {arguments} {redirect}"
    environment = {**os.environ, **variables}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, timeout=300)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("redirect", [">&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_ends_as_any_other(tmp_path: Path, redirect: str) -> None:
    code, words = autophage(f"{RUN} --out r", redirect, tmp_path)
    assert code == 0, words
    assert (tmp_path / "r/report.html").is_file()


def test_a_full_terminal_is_not_a_full_disk(tmp_path: Path) -> None:
    code, words = autophage(f"{RUN} --out r", ">/dev/full", tmp_path)
    assert (tmp_path / "r/report.html").is_file()
    assert (code, words.strip()) == (1, "error: standard output takes no more: No space left on device")
    assert autophage("recipes", ">/dev/full") == (1, words)


def test_names_in_another_alphabet_in_a_locale_of_ascii(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, words = autophage(f"{RUN} --out läufe", "", tmp_path, **ascii_only)
    assert code == 0, words
    assert (tmp_path / "läufe/report.html").is_file()


def test_a_name_that_the_given_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    code, words = autophage(f"{RUN} --out 日本", "", tmp_path, PYTHONIOENCODING="latin-1")
    assert code == 0, words
    assert "\\u65e5\\u672c/report.html" in words
    assert (tmp_path / "日本/report.html").is_file()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["flock", "fsync"])
def test_a_refusal_of_the_file_system_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl if call == "flock" else os, call, refuse)
    assert main([*RUN.split(), "--out", str(tmp_path / "r")]) == 1
    words = capsys.readouterr().err
    assert words.startswith(f"error: {tmp_path}/r"), words
    assert f": {os.strerror(number)}. The system refuses this" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("out", ["s3://bucket/run", "file:///tmp/run"])
def test_a_url_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN.split(), "--out", out]) == 2
    assert "is a URL" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["exp:1", "läufe #1 %20"])
def test_a_directory_whose_name_looks_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["run", "curse-gaussian", "--set", "generations=2", "--out", out],
        ["verify", out],
        ["report", out],
    ):
        assert main(arguments) == 0


def test_no_home_and_nobodys_id_names_the_variable(tmp_path: Path) -> None:
    kept = " ".join(f"{name}={shlex.quote(os.environ.get(name, ''))}" for name in ("PATH", "PYTHONPATH"))
    prefix = f"unshare --user --map-user=54321 --map-group=54321 env -i {kept}"
    command = f"{prefix} {shlex.quote(sys.executable)} -m autophage doctor"
    if subprocess.run(["bash", "-c", f"{prefix} true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a process change its user id")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stdout + done.stderr
    assert "AUTOPHAGE_CACHE" in done.stdout
