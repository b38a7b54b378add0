"""Causes of death and stacks of actors. Tests with a real Ray are in test_supervision.py."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

from autophage.cluster.calls import Actor, ActorLostError, exit_cause, last_words
from autophage.cluster.stacks import DUMP_SIGNAL, FRAMES_SHOWN, ask_for_stack, working_thread

DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: SamplerActor
\tactor_id: 9d81fc662e8a55480cd892b201000000
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed."""


def test_a_death_has_a_cause_in_a_line() -> None:
    cause = exit_cause(DIED)
    assert (
        cause == "its process crashed or was killed from outside, for example for lack of memory; Ray says SYSTEM_ERROR"
    )
    wanted = DIED.replace("Worker unexpectedly exits with a connection error code 2", "Killed as memory ran low")
    assert exit_cause(wanted) == "Killed as memory ran low; Ray says SYSTEM_ERROR"
    assert exit_cause("The node was lost") == "its machine is gone"
    assert "out of memory" in exit_cause("")


def test_a_lost_actor_can_travel() -> None:
    lost = pickle.loads(pickle.dumps(ActorLostError("the sampler died.", "abc")))
    assert (str(lost), lost.actor_id) == ("the sampler died.", "abc")


def actor(log: Path, since: int = 0) -> Actor:
    return Actor("sampler", None, log, None, since)  # type: ignore[arg-type]  # no process is behind it


def test_a_crash_is_told_by_what_it_wrote(tmp_path: Path) -> None:
    log = tmp_path / "sampler.log"
    assert last_words(actor(log)) == ""
    log.write_text("Fatal Python error: Segmentation fault\n\nThread 0x1:\n", "utf-8")
    assert last_words(actor(log)) == "Fatal Python error: Segmentation fault"
    before = log.stat().st_size
    log.write_text(log.read_text("utf-8") + "vLLM starts\n", "utf-8")
    assert last_words(actor(log, before)) == "", "the crash of the process before is not this one's"


DUMP = """Thread 0x01 (most recent call first):
  File "/x/threading.py", line 327 in wait

Current thread 0x02 (most recent call first):
  File "/x/torch/nn.py", line 3 in forward
  File "/y/autophage/trainer/sft.py", line 9 in fit
  File "/y/autophage/cluster/actors.py", line 10 in fit
"""


def test_of_many_threads_the_one_at_work_is_shown() -> None:
    shown = working_thread(DUMP)
    assert shown.splitlines()[0] == '  File "/x/torch/nn.py", line 3 in forward'
    assert "threading.py" not in shown
    deep = DUMP.replace("  File", '  File "/y/autophage/a.py", line 1 in f\n' * 30 + "  File", 3)
    assert working_thread(deep).count("File") == FRAMES_SHOWN
    assert "more" in working_thread(deep).splitlines()[-1]
    assert working_thread("no dump at all") == "no dump at all"


OWNED = """Thread 0x03 (most recent call first):
  File "/x/queue.py", line 4 in get
  File "/y/autophage/sampler/owner.py", line 55 in _serve

Thread 0x01 (most recent call first):
  File "/x/threading.py", line 327 in wait
  File "/x/concurrent/futures/_base.py", line 451 in result
  File "/y/autophage/sampler/owner.py", line 49 in call
  File "/y/autophage/sampler/engine.py", line 165 in _run
  File "/y/autophage/sampler/engine.py", line 155 in sample
  File "/y/autophage/cluster/actors.py", line 10 in sample
"""
AT_WORK = """
Thread 0x02 (most recent call first):
  File "/x/vllm/step.py", line 3 in step
  File "/y/autophage/sampler/engine.py", line 170 in _step
  File "/y/autophage/sampler/owner.py", line 57 in _serve
"""


def test_of_an_engine_that_hangs_its_owner_is_shown_and_not_who_waits_for_it() -> None:
    assert working_thread(OWNED + AT_WORK).splitlines()[0] == '  File "/x/vllm/step.py", line 3 in step'
    assert "in sample" in working_thread(OWNED), "where nobody works, the caller is shown"


SLEEPER = """
import faulthandler, signal, sys, time
faulthandler.register(signal.SIGUSR2, file=2)
def deep_in_thought():
    print("up", flush=True)
    time.sleep(60)
deep_in_thought()
"""


def test_a_process_of_rays_writes_its_stack_when_asked() -> None:
    assert DUMP_SIGNAL is signal.SIGUSR2
    command = ["ray::Sleeper", "-c", SLEEPER]
    sleeper = subprocess.Popen(
        command, executable=sys.executable, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert sleeper.stdout is not None
        assert sleeper.stderr is not None
        assert sleeper.stdout.readline() == "up\n"
        assert ask_for_stack(sleeper.pid).startswith("in state")
        assert "deep_in_thought" in "".join(sleeper.stderr.readline() for _ in range(3))
        sleeper.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while "stopped" not in (state := ask_for_stack(sleeper.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert state == "stopped (SIGSTOP)"
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert ask_for_stack(sleeper.pid) == "gone"


def test_a_process_that_is_nobody_of_rays_is_left_alone() -> None:
    assert ask_for_stack(os.getpid()) == "gone"  # the signal would have ended this test
