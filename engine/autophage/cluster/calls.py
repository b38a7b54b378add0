"""Calls on actors as the driver sees them: results, progress and deaths.

Every wait has a deadline. A dead actor raises `ActorLostError` and can be started again. A silent actor is killed, and
`HungError` carries its Python stack. This module does not know what actors do, where they run or what follows from a death.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from autophage.cluster.stacks import dump_stack
from autophage.errors import AutophageError, RunError
from autophage.progress import Progress

if TYPE_CHECKING:
    from ray import ActorID, ObjectRef
    from ray.actor import ActorHandle

    from autophage.plan.light import SampledTokens

T = TypeVar("T")

PROGRESS_SECONDS = 10.0
"""Longest wait for an actor's progress. A stopped process does not answer."""
LAST_BYTES = 16 << 10
"""Bytes at the end of a log that are searched for a crash: a crash writes its stacks last."""
CAUSE = re.compile(r"Worker exit type: (\w+) Worker exit detail: ([^.]*\.)")


class ActorLostError(RunError):
    """An actor, its machine or its engine died.

    `actor_id` is Ray's id of the dead actor, which need not be the one that was called. It is empty where Ray names none.
    """

    def __init__(self, message: str, actor_id: str = "", cause: str = "") -> None:
        super().__init__(message, actor_id, cause)
        self.actor_id, self.cause = actor_id, cause

    def __str__(self) -> str:
        return str(self.args[0])


class HungError(RunError):
    """An actor did not answer, or made no progress, until its deadline."""


class RemoteMethod(Protocol):
    """A method of an actor, called through Ray."""

    def remote(self, *arguments: Any, **named: Any) -> ObjectRef[Any]: ...

    def options(self, **options: Any) -> RemoteMethod: ...


class Handle(Protocol):
    """Ray's handle of an actor. Its attributes are the methods of the actor's class."""

    _actor_id: ActorID

    def __getattr__(self, name: str) -> RemoteMethod: ...


@dataclass
class Actor:
    """An actor process, from its start on, and the calls on it."""

    name: str
    handle: Handle
    log: Path
    whereabouts: ObjectRef[tuple[str, int]]
    """Reference to the id of the actor's Ray node, and its pid."""
    since: int
    """Byte of the log at which this process's part begins. Earlier processes wrote what precedes it."""

    @property
    def id(self) -> str:
        return str(self.handle._actor_id.hex())

    def get(self, reference: ObjectRef[T], seconds: float, otherwise: str = "did not answer") -> T:
        """Wait for the result of a call on this actor, and return it.

        Args:
            seconds: Longest wait.
            otherwise: Predicate of the error message once `seconds` have passed.

        Raises:
            AutophageError: The actor raised it.
            ActorLostError: The actor died, or another whose result it needed, or an object was lost with its machine.
            HungError: There was no answer within `seconds`.
            RunError: The actor failed with any other error. Its log has the traceback.
        """
        import ray

        try:
            return ray.get(reference, timeout=seconds)
        except ray.exceptions.GetTimeoutError as error:
            raise self.hung(f"{otherwise} within {seconds:.0f} s") from error
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(
                cause, ray.exceptions.RayActorError | ray.exceptions.ObjectLostError | ray.exceptions.OutOfMemoryError
            ):
                raise _lost(self, cause) from error
            if isinstance(cause, AutophageError):
                raise cause from None
            raise RunError(f"the {self.name} failed: {type(cause).__name__}: {cause}. Its log: {self.log}") from error
        except (
            ray.exceptions.RayActorError,
            ray.exceptions.ObjectLostError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
        ) as error:
            raise _lost(self, error) from error

    def notes(self, seconds: float) -> list[str]:
        """Return the actor's new messages for the user, after at most `seconds`."""
        reference: ObjectRef[list[str]] = self.handle.notes.options(concurrency_group="watch").remote()
        return self.get(reference, seconds)

    def batch(self, key: str, seconds: float) -> SampledTokens | None:
        """Return the tokens of the sampler's ended call with job `key`, after at most `seconds`."""
        reference: ObjectRef[SampledTokens | None] = self.handle.batch.options(concurrency_group="watch").remote(key)
        return self.get(reference, seconds)

    def latest_progress(self, key: str, before: Progress | None) -> Progress | None:
        """Return the progress of the work named `key`, or `before` where the actor does not answer."""
        import ray

        watch = self.handle.progress.options(concurrency_group="watch")
        reference: ObjectRef[Progress] = watch.remote(key)
        try:
            return ray.get(reference, timeout=PROGRESS_SECONDS)
        except ray.exceptions.RayError:
            return before  # the result of the running stage says which actor died

    def where(self) -> tuple[str, int] | None:
        """Return the id of the actor's node, and its pid. None before the process is up, and where it never came up."""
        import ray

        try:
            return ray.get(self.whereabouts, timeout=0)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError):
            return None

    def hung(self, what: str) -> HungError:
        """Dump the Python stack of this silent actor and kill it. Return the error that reports both.

        Args:
            what: Predicate of the message, as "did not answer within 600 s".
        """
        stack = dump_stack(self.where(), self.log)
        self.kill()
        return HungError(
            f"the {self.name} {what} and was killed. {stack}\nIts log: {self.log}. "
            "The same command resumes after the last commit."
        )

    def kill(self) -> None:
        """Kill the actor's process. A dead one stays dead."""
        import ray

        ray.kill(cast("ActorHandle[Any]", self.handle), no_restart=True)


def lost(actor: Actor, cause: str) -> ActorLostError:
    """Return the error of a dead actor. The actor's own last words go before Ray's `cause`."""
    return ActorLostError(
        f"the {actor.name} died ({last_words(actor) or cause}). Its log: {actor.log}.", actor.id, cause
    )


def _lost(actor: Actor, error: Exception) -> ActorLostError:
    """Return the error of a lost actor for Ray's `error` of a call on `actor`.

    Ray's error names the actor that died, which need not be the one that was called.
    """
    actor_id, cause = str(getattr(error, "actor_id", None) or ""), exit_cause(str(error))
    if actor_id == actor.id:
        return lost(actor, cause)
    return ActorLostError(
        f"the {actor.name}, or an actor that it needed, is gone ({cause}). Its log: {actor.log}.", actor_id, cause
    )


def exit_cause(text: str) -> str:
    """Return the cause of a process's end in words, from Ray's account of it."""
    if "memory" in text and "threshold" in text:
        return (
            "Ray's memory monitor killed it, as the machine's memory was nearly full; sample less at once "
            "(sample.concurrency, train.batch_size), or run fewer cells"
        )
    if found := CAUSE.search(" ".join(text.split())):
        kind, detail = found.groups()
        if "unexpectedly exits" in detail:
            detail = "its process crashed or was killed from outside, for example for lack of memory"
        return f"{detail.rstrip('.')}; Ray says {kind}"
    if "node" in text.lower():
        return "its machine is gone"
    return "out of memory, killed, or its machine is gone"


def last_words(actor: Actor) -> str:
    """Return the line that `faulthandler` wrote about a crash to the actor's part of the log; "" without one."""
    if not actor.log.is_file():
        return ""
    with actor.log.open("rb") as file:
        file.seek(max(actor.since, actor.log.stat().st_size - LAST_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.startswith("Fatal Python error:")), "")
