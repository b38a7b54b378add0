"""Several processes of one machine that hold the same object and make the same calls on it; this process is rank 0.

Rank 0 sends each call to the others, makes it itself, and gives its own answer. Owns the processes: each has one GPU of those
that this process was given (or its share of the cores), leaves when rank 0 is gone, however it went, and one that fails is
named. Knows nothing of models; what is called is made by a function that is given to every rank.
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
"""Between rank 0's end of a call and the others': they do the same work on equal devices."""
LEAVE_SECONDS = 10.0
BEGIN_SECONDS = 600.0
"""For a process to import torch from a slow disk."""


def keep_first_gpu() -> list[str]:
    """Ids of the GPUs that this process was given, of which it sees but the first from now on; none without a GPU.

    Called before anything here touches a GPU: what CUDA has seen once it goes on seeing, and transformers would put a
    copy of the model on each.
    """
    import torch

    if torch.cuda.is_initialized():
        raise RunError("GPUs can be shared out between trainer ranks only before one is used")
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = listed.split(",") if listed is not None else map(str, range(torch.cuda.device_count()))
    gpus = [one for one in every if one not in ("", "-1")]
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
    return gpus


class Group:
    """Rank 0 of `size` ranks, each with one of `gpus` (from `keep_first_gpu`), or on a CPU where there are none.

    `make` is called once in every rank with its `Ranks`; it crosses to other processes by pickle, so it must be importable. The
    other ranks' logs lie beside `log`, this process's, with their numbers in the name: a run may have several groups.
    """

    def __init__(self, make: Make, size: int, gpus: Sequence[str], log: Path) -> None:
        if gpus and len(gpus) < size:
            raise UserError(
                f"{size} trainer ranks take {size} GPUs of one machine, and the trainer was given {len(gpus)}."
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
        """Rank 0's object, for what needs no other rank."""
        return self._own

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """`method` on every rank with these arguments; rank 0's answer. A `Meter` shows the progress of rank 0 alone.

        Raises:
            AutophageError: as rank 0 raised it; the ranks raise it together, and can be called again.
            RunError: another rank failed or died, by number. The group is closed.
        """
        for follower in self._followers:
            try:
                follower.connection.send((method, arguments, options))
            except OSError:
                self._give_up(follower)
        return self._together(lambda: getattr(self._own, method)(*arguments, **options))

    def close(self) -> None:
        """End every other rank; safe to call again."""
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
            # A collective whose other end is gone ends like this; who went first says more.
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
                raise RunError(f"trainer rank {follower.rank} went another way than rank 0: {text or failure}")
        if failure is not None:
            raise failure
        return answer

    def _give_up(self, follower: _Follower, error: Exception | None = None) -> NoReturn:
        reason, log = follower.reason(), follower.log
        self.close()
        raise RunError(
            f"trainer rank {follower.rank} {reason}. Its log: {log}. The same command goes on after the last commit."
        ) from error


class _Follower:
    """Another rank's process, seen from rank 0."""

    def __init__(self, rank: int, variables: dict[str, str], log: Path) -> None:
        self.rank, self.log = rank, log.with_name(f"{log.stem}-{rank}.log")
        self._said: tuple[str, str] | None = None
        self.connection, theirs = Pipe()
        alive, self._alive = os.pipe()  # nobody writes to it; its end is the end of this process
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
        """`done`, `failed` (an error that all ranks raise), or `broken`, with its text."""
        if self._said is not None and self._said[0] == "broken":
            return self._said
        try:
            answered = self.connection.poll(seconds)
            self._said = self.connection.recv() if answered else ("broken", f"did not answer within {seconds:.0f} s")
        except (EOFError, OSError):
            self._said = ("broken", "")
        return self._said

    def has_failed(self) -> bool:
        """Whether it has said that it broke, or died. A moment is given to it: its end is seen before its words arrive."""
        return self.answer(LEAVE_SECONDS)[0] == "broken"

    def reason(self) -> str:
        if self._said is not None and self._said[1]:
            return self._said[1]
        try:
            code = self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            return "left without a word"
        return f"died (exit code {code}: out of memory, or killed)" if code < 0 else f"left with exit code {code}"

    def end(self) -> None:
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
    """What every rank but 0 does: make the object, then each call that comes, until rank 0 is gone."""

    folder: str | None = None

    def leave_with_rank_0() -> None:
        os.read(alive, 1)
        if folder is not None:  # rank 0 removes it too, where it gets to
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
