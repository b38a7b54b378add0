"""A group of processes on one machine that hold equal objects and make the same calls. This process is rank 0.

Rank 0 sends each call to the other ranks, makes the call itself, and returns its own answer. The group owns the other
processes. Each has one of this process's GPUs, or its share of the cores. They exit when rank 0 exits, for any reason.
An error names the rank that failed. The group knows nothing of models: a given function constructs the objects.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from autophage.errors import AutophageError, RunError, UserError

if TYPE_CHECKING:
    from autophage.trainer.ranks import Ranks

    Make = Callable[[Ranks], Any]

ANSWER_SECONDS = 120.0
"""Largest delay between rank 0's end of a call and another rank's. Ranks do equal work on equal devices."""
LEAVE_SECONDS = 10.0
"""Time for a process to exit by itself."""
BEGIN_SECONDS = 600.0
"""Time for a process to import torch from a slow disk."""


def keep_first_gpu() -> list[str]:
    """Hide all GPUs of this process but the first. Return the ids of all of them, an empty list on a CPU.

    Call it before anything initializes CUDA, which never forgets a GPU. Transformers would put a copy of the model on
    each.

    Raises:
        RunError: CUDA is initialized already.
    """
    import torch

    if torch.cuda.is_initialized():
        raise RunError("GPUs cannot be assigned to trainer ranks: this process has initialized CUDA already")
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = listed.split(",") if listed is not None else map(str, range(torch.cuda.device_count()))
    gpus = [one for one in every if one not in ("", "-1")]
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
    return gpus


class Group:
    """Rank 0's handle of a group of processes. It passes each call to every rank."""

    def __init__(self, make: Make, size: int, gpus: Sequence[str], log: Path) -> None:
        """Start `size` - 1 processes and construct the object of each rank.

        Args:
            make: Called once in every rank with its `Ranks`. It is pickled, so it must be importable.
            gpus: Ids from `keep_first_gpu`, one per rank. An empty sequence runs all ranks on the CPU.
            log: This process's log. The other ranks' logs lie beside it, with their number in the name.

        Raises:
            UserError: there are fewer GPUs than ranks.
            RunError: a rank did not start.
        """
        if gpus and len(gpus) < size:
            raise UserError(
                f"{size} trainer ranks need {size} GPUs of one machine, but the trainer was given {len(gpus)}. "
                "Lower cluster.trainer_gpus, or give the trainer a machine with more GPUs."
            )
        self._folder = Path(tempfile.mkdtemp(prefix="autophage-ranks-"))
        self._followers = []
        try:
            threads = str(max(1, len(os.sched_getaffinity(0)) // size))
            for rank in range(1, size):
                variables = {"CUDA_VISIBLE_DEVICES": gpus[rank]} if gpus else {"OMP_NUM_THREADS": threads}
                self._followers.append(_Follower(rank, variables, log))
            for follower in self._followers:
                if follower.answer(BEGIN_SECONDS)[0] == "broken":
                    self._give_up(follower)
            for follower in self._followers:
                follower.connection.send((str(self._folder), follower.rank, size, make))
            from autophage.trainer.ranks import join

            self._ranks = join(self._folder, 0, size)
            if not gpus:
                import torch

                torch.set_num_threads(int(threads))
            self._own = self._together(lambda: make(self._ranks))
        except BaseException:
            self.close()
            raise

    @property
    def own(self) -> Any:
        """The object that rank 0 constructed. Calls on it must not need another rank."""
        return self._own

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of each rank's object with equal arguments, and return rank 0's answer.

        A `Meter` among the arguments shows the progress of rank 0 alone.

        Raises:
            AutophageError: every rank raised it. The group can be called again.
            RunError: another rank failed or died. The message names it, and the group is closed.
        """
        for follower in self._followers:
            try:
                follower.connection.send((method, arguments, options))
            except OSError:
                self._give_up(follower)
        return self._together(lambda: getattr(self._own, method)(*arguments, **options))

    def close(self) -> None:
        """End every other rank's process. A second `close` does nothing."""
        for follower in self._followers:
            follower.end()
        self._followers = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _together(self, work: Callable[[], Any]) -> Any:
        failure: AutophageError | None = None
        answer = None
        try:
            answer = work()
        except AutophageError as error:
            failure = error
        except Exception as error:
            # A collective fails like this if another rank is gone. That rank's own error says more.
            for follower in self._followers:
                if follower.has_failed():
                    self._give_up(follower, error)
            self.close()
            raise
        for follower in self._followers:
            kind, text = follower.answer()
            if kind == "broken":
                self._give_up(follower)
            if (kind == "failed") != (failure is not None):
                self.close()
                raise RunError(
                    f"trainer rank {follower.rank} and rank 0 disagree: only one of them failed ({text or failure})"
                )
        if failure is not None:
            raise failure
        return answer

    def _give_up(self, follower: _Follower, error: Exception | None = None) -> NoReturn:
        reason, log = follower.reason(), follower.log
        self.close()
        raise RunError(
            f"trainer rank {follower.rank} {reason}. Its log: {log}. Run the same command again to resume after the last commit."
        ) from error


class _Follower:
    """Rank 0's handle of another rank's process."""

    def __init__(self, rank: int, variables: dict[str, str], log: Path) -> None:
        self.rank, self.log = rank, log.with_name(f"{log.stem}-{rank}.log")
        self._said: tuple[str, str] | None = None
        self.connection, theirs = Pipe()
        alive, self._alive = os.pipe()  # nobody writes to it: it closes when this process ends
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autophage.trainer.follower", str(theirs.fileno()), str(alive)],
                env={**os.environ, **variables},
                pass_fds=(theirs.fileno(), alive),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        os.close(alive)

    def answer(self, seconds: float = ANSWER_SECONDS) -> tuple[str, str]:
        """Return the outcome of the last call and its text, after at most `seconds`.

        The outcome is `done`, `failed` (an error that all ranks raise) or `broken`. A process that does not answer is
        broken.
        """
        if self._said is not None and self._said[0] == "broken":
            return self._said
        try:
            answered = self.connection.poll(seconds)
            self._said = self.connection.recv() if answered else ("broken", f"did not answer within {seconds:.0f} s")
        except (EOFError, OSError):
            self._said = ("broken", "")
        return self._said

    def has_failed(self) -> bool:
        """Return True if the process is broken: it reported an error of its own, died or does not answer.

        The check waits up to `LEAVE_SECONDS`: the process's end may be seen before its report arrives.
        """
        return self.answer(LEAVE_SECONDS)[0] == "broken"

    def reason(self) -> str:
        """Return the cause of the process's failure, as the end of a sentence that begins with its rank."""
        if self._said is not None and self._said[1]:
            return self._said[1]
        try:
            code = self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        return f"died (exit code {code}: out of memory, or killed)" if code < 0 else f"exited with code {code}"

    def end(self) -> None:
        """Let the process exit, and kill it if it still runs after `LEAVE_SECONDS`."""
        self.connection.close()
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def follow(connection: Connection, alive: int) -> None:
    """Run a rank other than 0: construct its object, then serve calls until rank 0 is gone.

    Calls arrive through `connection`. `alive` is a file descriptor that closes when rank 0's process ends.
    """

    folder: str | None = None

    def leave_with_rank_0() -> None:
        os.read(alive, 1)
        if folder is not None:  # rank 0 may have died before it removed it
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=leave_with_rank_0, daemon=True).start()
    from autophage.trainer.ranks import join

    connection.send(("done", ""))
    folder, rank, size, make = connection.recv()
    own: Any = None

    def first() -> None:
        nonlocal own
        own = make(join(Path(folder), rank, size))

    work: Callable[[], Any] = first
    while True:
        try:
            work()
            connection.send(("done", ""))
        except AutophageError as error:
            connection.send(("failed", str(error)))
        except Exception as error:
            connection.send(("broken", f"failed: {type(error).__name__}: {error}"))
            raise
        work = _bound(own, *connection.recv())


def _bound(own: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], Any]:
    return lambda: getattr(own, method)(*arguments, **options)
