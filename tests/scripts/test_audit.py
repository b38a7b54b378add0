"""The audit of dependencies asks about what is installed, and tells a finding from an audit that could not be made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit.sh"

UV = """#!/bin/sh
case "$1 $2" in
"pip freeze")
    printf '%s\\n' '-e file:///checkout' 'numpy==2.4.0' 'torch==2.13.0+cpu' 'wheel @ file:///a.whl'
    printf '%s\\n' 'Zope.x-y_z==1.0 ; python_version > "3"'
    ;;
"tool run")
    [ "$4" = --version ] && exit "$FETCHED"
    cp "$5" "$SEEN"
    [ -n "$FOUND" ] && echo "$FOUND" >"$7"
    exit "$ENDED"
    ;;
esac
"""


def audit(
    tmp_path: Path, *, fetched: int = 0, found: str = "", ended: int = 0, uv: bool = True
) -> subprocess.CompletedProcess[str]:
    tools = tmp_path / "bin"
    tools.mkdir()
    if uv:
        (tools / "uv").write_text(UV, "utf-8")
        (tools / "uv").chmod(0o755)
    variables = {"PATH": f"{tools}:/usr/bin:/bin", "SEEN": str(tmp_path / "seen")}
    return subprocess.run(
        [str(SCRIPT), "some/python"],
        env={**variables, "FETCHED": str(fetched), "FOUND": found, "ENDED": str(ended)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_asks_about_public_versions(tmp_path: Path) -> None:
    done = audit(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text("utf-8").split() == ["numpy==2.4.0", "torch==2.13.0", "Zope.x-y_z==1.0"]
    assert "3 packages" in done.stderr


def test_what_is_found_is_shown(tmp_path: Path) -> None:
    done = audit(tmp_path, found="numpy 2.4.0 CVE-0000-0000", ended=1)
    assert done.returncode == 1
    assert "CVE-0000-0000" in done.stdout


def test_a_database_that_does_not_answer_is_no_finding(tmp_path: Path) -> None:
    done = audit(tmp_path, ended=1)
    assert done.returncode == 3
    assert "the database did not answer" in done.stderr


def test_an_audit_that_cannot_be_made_is_no_clean_bill(tmp_path: Path) -> None:
    done = audit(tmp_path, fetched=2)
    assert done.returncode == 3
    assert "nothing was looked up" in done.stderr
    assert not (tmp_path / "seen").exists()


def test_without_uv_it_says_what_to_do(tmp_path: Path) -> None:
    own = SCRIPT.parents[1] / ".venv" / "uv" / "bin" / "uv"
    if own.exists() or os.path.exists("/usr/bin/uv"):
        pytest.skip("there is a uv where the script looks")
    done = audit(tmp_path, uv=False)
    assert done.returncode == 3
    assert "make setup" in done.stderr
