"""Calls on actors as the driver sees them: results, progress, deaths, and what a silent one is doing.

Every wait has a deadline. An actor that died is told from one that is hung: the first can be started again, of the second the
Python stack is asked for, by a signal that needs neither its attention nor the interpreter lock, and read back from its log.
Does not know what actors do, where they are placed or what follows from a death.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.errors import AutophageError, RunError

PROGRESS_SECONDS = 10.0
DUMP_SIGNAL = signal.SIGUSR2
"""Actors answer it with the stacks of their threads (`actors.Shell`). Slurm's and users' own signals are others."""
DUMP_SECONDS = 10.0
"""For a stack to appear in the log, on a file system that another machine wrote to."""
DUMP_SETTLED = 0.5
"""A log that has not grown for this long holds the whole dump."""
FRAMES_SHOWN = 12
LAST_BYTES = 16 << 10
"""Of a log: a crash's stacks are its end."""
CAUSE = re.compile(r"Worker exit type: (\w+) Worker exit detail: ([^.]*\.)")


class ActorLostError(RunError):
    """An actor died, or the machine that it was on, or its engine.

    `actor_id` is Ray's, empty where it does not say, and may be of another actor than the one that was called.
    """

    def __init__(self, message: str, actor_id: str = "", cause: str = "") -> None:
        super().__init__(message, actor_id, cause)
        self.actor_id, self.cause = actor_id, cause

    def __str__(self) -> str:
        return str(self.args[0])


class HungError(RunError):
    """An actor did not answer, or made no progress, until its deadline."""


@dataclass
class Actor:
    """An actor as the driver knows it, from when it is started.

    `whereabouts` refers to its node's id and its pid; `since` is where its part of the log begins, after that of actors
    before it.
    """

    name: str
    handle: Any
    log: Path
    whereabouts: Any
    since: int

    @property
    def id(self) -> str:
        return str(self.handle._actor_id.hex())

    def get(self, reference: Any, seconds: float, otherwise: str = "did not answer") -> Any:
        """The result behind a reference to a call on it, as `fetch` has it; `otherwise` says what it did not do in time."""
        return fetch(reference, self, seconds, otherwise)

    def where(self) -> tuple[str, int] | None:
        """Its node's id and its pid; None while it is not up, or where it never was."""
        import ray

        try:
            node, pid = ray.get(self.whereabouts, timeout=0)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
            return None
        return node, pid

    def kill(self) -> None:
        """End its process without asking it; one that is dead already stays so."""
        import ray

        ray.kill(self.handle, no_restart=True)


def fetch(reference: Any, actor: Actor, seconds: float, otherwise: str) -> Any:
    """The result behind a reference; errors come out as the actor raised them, and a dead or hung actor is named.

    Raises:
        AutophageError: as raised in the actor.
        ActorLostError: the actor died, or another whose result it needed, or an object is gone with its machine.
        HungError: it did not answer in `seconds`.
        RunError: it failed in a way nobody foresaw; its log says more.
    """
    import ray

    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise hung(actor, f"{otherwise} within {seconds:.0f} s") from error
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ray.exceptions.RayActorError | ray.exceptions.ObjectLostError):
            raise _lost(actor, cause) from error
        if isinstance(cause, AutophageError):
            raise cause from None
        raise RunError(f"the {actor.name} failed: {type(cause).__name__}: {cause}. Its log: {actor.log}") from error
    except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.NodeDiedError) as error:
        raise _lost(actor, error) from error


def lost(actor: Actor, cause: str) -> ActorLostError:
    """That this actor died, and why: by what it wrote about its own end where it did."""
    return ActorLostError(
        f"the {actor.name} died ({last_words(actor) or cause}). Its log: {actor.log}.", actor.id, cause
    )


def _lost(actor: Actor, error: Exception) -> ActorLostError:
    """`error` names the actor that died, which need not be the one that was called."""
    actor_id, cause = str(getattr(error, "actor_id", None) or ""), exit_cause(str(error))
    if actor_id == actor.id:
        return lost(actor, cause)
    return ActorLostError(
        f"the {actor.name} or what it needed is gone ({cause}). Its log: {actor.log}.", actor_id, cause
    )


def exit_cause(text: str) -> str:
    """Why a process ended, in the words that Ray's account of it has."""
    if found := CAUSE.search(" ".join(text.split())):
        kind, detail = found.groups()
        if "unexpectedly exits" in detail:
            detail = "its process was killed from outside, as for want of memory, or crashed"
        return f"{detail.rstrip('.')}; Ray says {kind}"
    if "node" in text.lower():
        return "its machine is gone"
    return "out of memory, killed, or its machine is gone"


def last_words(actor: Actor) -> str:
    """What a crash wrote about itself in the actor's part of the log (`faulthandler`); nothing where there is none."""
    if not actor.log.is_file():
        return ""
    with actor.log.open("rb") as file:
        file.seek(max(actor.since, actor.log.stat().st_size - LAST_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.startswith("Fatal Python error:")), "")


def latest_progress(actor: Actor, key: str, before: Any) -> Any:
    """What the actor says of the work `key`; `before` where it does not get to answer, as when its process is stopped."""
    import ray

    try:
        watch = actor.handle.progress.options(concurrency_group="watch")
        return ray.get(watch.remote(key), timeout=PROGRESS_SECONDS)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
        return before  # of a dead actor the stage's own result says that it died, and which one


def hung(actor: Actor, what: str) -> HungError:
    """Look at what a silent actor is doing, end its process, and say all of it."""
    stack = _stack(actor)
    actor.kill()
    return HungError(
        f"the {actor.name} {what} and was given up. {stack}\nIts log: {actor.log}. "
        "The same command goes on after the last commit."
    )


def _stack(actor: Actor) -> str:
    where = actor.where()
    if where is None:
        return "Its process was never seen."
    size = size_of(actor.log)
    state = _signal_on(*where)
    dump = _dumped(actor.log, size)
    if dump:
        return f"Its Python stack:\n{working_thread(dump)}"
    return f"It wrote no stack: its process is {state}."


def _signal_on(node: str, pid: int) -> str:
    """Ask a process for its stack, wherever it is; returns what state the kernel has it in."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if node == ray.get_runtime_context().get_node_id():
        return ask_for_stack(pid)
    options: Any = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
    asking: Any = ray.remote(**options)(ask_for_stack).remote(pid)
    try:
        return str(ray.get(asking, timeout=DUMP_SECONDS))
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
        return "on a machine that does not answer"


def ask_for_stack(pid: int) -> str:
    """Send `DUMP_SIGNAL` to one of Ray's processes on this machine; returns the state that it is in, in words."""
    process = Path("/proc", str(pid))
    try:
        if not (process / "cmdline").read_bytes().startswith(b"ray::"):
            return "gone"  # its number belongs to somebody else now
        os.kill(pid, DUMP_SIGNAL)
        letter = (process / "stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
    return {"T": "stopped (SIGSTOP)", "D": "waiting for a device (state D)", "Z": "dead"}.get(
        letter, f"in state {letter}"
    )


def _dumped(log: Path, size: int) -> str:
    """What a log has gained beyond `size` once it is quiet again."""
    deadline = time.monotonic() + DUMP_SECONDS
    last, changed = size, time.monotonic()
    while time.monotonic() < deadline and (last == size or time.monotonic() - changed < DUMP_SETTLED):
        time.sleep(0.05)
        if (now := size_of(log)) != last:
            last, changed = now, time.monotonic()
    if last == size:
        return ""
    with log.open("rb") as file:
        file.seek(size)
        return file.read().decode("utf-8", errors="replace")


def size_of(log: Path) -> int:
    return log.stat().st_size if log.is_file() else 0


def working_thread(dump: str) -> str:
    """Of the threads in a dump of `faulthandler`, the innermost frames of the one that is at this package's work."""
    threads = [block.strip().splitlines() for block in dump.split("\n\n") if "most recent call first" in block]
    ours = [lines for lines in threads if any("/autophage/" in line for line in lines)]
    shown = max(ours or threads, key=len, default=dump.strip().splitlines())
    frames = [line for line in shown if line.lstrip().startswith("File ")] or shown
    more = [f"  ... {len(frames) - FRAMES_SHOWN} more"] if len(frames) > FRAMES_SHOWN else []
    return "\n".join([*frames[:FRAMES_SHOWN], *more])
