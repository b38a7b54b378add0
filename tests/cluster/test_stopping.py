"""The effect of each signal at its first, second and third time, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.cluster.stopping import TERM_GRACE, Stopping, heeding
from autophage.errors import RequeueInterrupt


def stopping(grace: float = 50.0) -> Stopping:
    return Stopping(grace, lambda: None)


@pytest.mark.parametrize(("signum", "granted"), [(signal.SIGTERM, TERM_GRACE), (signal.SIGUSR1, 50.0)])
def test_who_waits_hears_of_it_and_has_time(signum: signal.Signals, granted: float) -> None:
    one = stopping()
    assert one.asked == ""
    with one.waited_for():
        one.hear(signum)
        assert one.asked == signum.name
        assert one.grace == granted
        assert granted - 5 < one.seconds_left() <= granted
        with pytest.raises(KeyboardInterrupt):
            one.hear(signal.SIGTERM)  # a second one is not patient


@pytest.mark.parametrize(
    ("signum", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, KeyboardInterrupt), (signal.SIGUSR1, RequeueInterrupt)],
)
def test_where_nobody_waits_the_run_ends(signum: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        stopping().hear(signum)
    assert caught.type is raised


def test_ctrl_c_is_never_patient() -> None:
    one = stopping()
    with one.waited_for(), pytest.raises(KeyboardInterrupt):
        one.hear(signal.SIGINT)


def test_a_run_that_is_to_be_queued_again_says_so_whenever_it_leaves() -> None:
    one = stopping()
    with one.waited_for():
        one.hear(signal.SIGUSR1)
    with pytest.raises(RequeueInterrupt, match="SIGUSR1"):
        one.leave()


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    one = stopping()
    with heeding(one):
        assert signal.getsignal(signal.SIGTERM) == one.hear
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


BLOCKED = """
import os, pathlib, signal, subprocess, sys, time
from autophage.cluster import stopping
stopping.UNWINDING_SECONDS = 0.5
place = pathlib.Path(sys.argv[1])
child = subprocess.Popen(["sleep", "60"])
one = stopping.Stopping(1.0, place.unlink)
with stopping.heeding(one):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:  # a way out that takes for ever
        os.kill(os.getpid(), signal.SIGINT)
        assert child.wait(10) == -signal.SIGKILL
        print("child gone", flush=True)
        time.sleep(60)
"""


def test_a_second_ctrl_c_takes_everything_along(tmp_path: Path) -> None:
    left = tmp_path / "temporary"
    left.touch()
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(left)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=_heed_interrupts,
    )
    assert (done.stdout, done.returncode) == ("child gone\n", 130), done.stderr
    assert not left.exists()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_exit_code_says_that_the_job_may_be_queued_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from autophage import cli

    def leaves(*_: object) -> Callable[..., int]:
        raise RequeueInterrupt("stopped by SIGUSR1")

    monkeypatch.setattr("autophage.cli.app.build_app", leaves)
    assert cli.main(["run", "smoke"]) == cli.REQUEUE == 75
    assert "SIGUSR1" in capsys.readouterr().err
