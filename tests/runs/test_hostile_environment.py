"""A run under an environment that would steer it, as people's shells have. It is the same run, to the bit."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.real_stack import AUTOPHAGE, Contents

pytestmark = [pytest.mark.slow, pytest.mark.long]

LAUNCHERS = {
    **{"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"},
    **{"PMI_SIZE": "2", "PMI_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    **{"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true"},
}
PROXIES = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **{"ALL_PROXY": "socks5://127.0.0.1:9"},
}
SHELLS: dict[str, dict[str, str]] = {
    "launchers": LAUNCHERS,
    "proxies": PROXIES,
    "a locale of ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "no home": {"HOME": "/nonexistent"},
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_same_run(
    shell: str, smoke_run: Path, variables: dict[str, str], contents: Contents, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    environment = {**variables, **SHELLS[shell]}
    done = subprocess.run(
        [*AUTOPHAGE, "run", "smoke", "--out", str(out)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert contents(out) == contents(smoke_run)
    if shell == "launchers":
        recorded = json.loads((out / "environment.json").read_text("utf-8"))["variables"]
        assert recorded["left_out"] == sorted(LAUNCHERS)


def test_a_long_folder_for_temporary_files(
    smoke_run: Path, variables: dict[str, str], contents: Contents, tmp_path: Path
) -> None:
    long = Path(tempfile.mkdtemp()) / ("deep" * 20) / ("folder" * 12)
    long.mkdir(parents=True)
    out = tmp_path / "run"
    done = subprocess.run(
        [*AUTOPHAGE, "run", "smoke", "--out", str(out)],
        env={**variables, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert contents(out) == contents(smoke_run)
    shutil.rmtree(long.parents[1])


def test_started_by_uv_run(smoke_run: Path, variables: dict[str, str], contents: Contents, tmp_path: Path) -> None:
    """Ray looks for an ancestor whose command line begins with `uv run`."""
    out, folder = tmp_path / "out", tmp_path / "work"
    folder.mkdir()
    (folder / "run").write_text('"$@"\n', "utf-8")
    command = ["bash", "-c", 'exec -a uv bash run "$@"', "bash", *AUTOPHAGE, "run", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert contents(out) == contents(smoke_run)
