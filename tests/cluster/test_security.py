"""A default run listens on loopback only, and writes no secret of its environment."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cluster.listening import Listener, listeners

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECRETS = {
    "HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "HUGGING_FACE_HUB_TOKEN": "hf_hgfedcbaABCDEFGHabcdefghABCDEFGH12",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "secret/of/nobody/0123456789",
    "RAY_AUTH_TOKEN": "5ec7e7" * 10 + "beef",
}


@pytest.fixture(scope="module")
def watched(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, set[Listener]]:
    """Run with secrets in the environment. Yields the directory, the output, and every socket that listened."""
    out = tmp_path_factory.mktemp("runs") / "watched"
    said = out.parent / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "autophage", "run", "smoke", "--out", str(out)],
            env={**variables, **SECRETS},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        found: set[Listener] = set()
        while process.poll() is None:
            found |= listeners(process.pid)
            time.sleep(0.2)
    assert process.returncode == 0, said.read_text("utf-8")[-2000:]
    return out, said.read_text("utf-8", errors="replace"), found


def test_nothing_listens_beyond_loopback(watched: tuple[Path, str, set[Listener]]) -> None:
    found = watched[2]
    assert len({one.pid for one in found}) > 1, "Ray's processes were not seen, so nothing was looked at"
    assert {one for one in found if one.outside} == set()


def test_a_socket_on_every_interface_would_be_found() -> None:
    code = (
        "import socket, sys; s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen()\n"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with socket.create_server(("127.0.0.1", 0)) as own:
        found = listeners(process.pid)
        assert Listener("0.0.0.0", port, process.pid) in found
        assert not any(one.port == own.getsockname()[1] for one in found), "of another process"
    assert {one.port for one in found if one.outside} == {port}
    process.communicate("")


def test_no_secret_is_written_or_printed(watched: tuple[Path, str, set[Listener]], variables: dict[str, str]) -> None:
    out, said, _ = watched
    report = [sys.executable, "-m", "autophage", "report", str(out)]
    subprocess.run(report, env={**variables, **SECRETS}, check=True, capture_output=True)
    files = [path for path in out.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"recipe.toml", "environment.json", "events.jsonl", "report.html", "manifest.json", "trainer.log"} <= names
    for name, secret in SECRETS.items():
        assert secret not in said, name
        holding = [path for path in files if secret.encode() in path.read_bytes()]
        assert holding == [], name
