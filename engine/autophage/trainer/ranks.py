"""One rank of a process group, and the collectives that ranks use.

Ranks make the same calls in the same order. Each collective below is such a call. A collective without an answer within
`COLLECTIVE_SECONDS` raises. No rank therefore waits forever for one that died or makes other calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore

from autophage.errors import RunError

COLLECTIVE_SECONDS = 300.0
"""Deadline of a collective. Ranks reach it within the time of one batch, which is seconds."""
TURN_SECONDS = 3600.0
"""Time for all ranks to load a large model from a slow disk, one after the other."""
STORE = "ranks"

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's rank in a group of `size` ranks."""

    rank: int
    size: int
    device: torch.device
    store: Any

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all ranks in place, and return it."""
        dist.all_reduce(value)
        return value

    def gather(self, thing: T) -> list[T]:
        """Return each rank's `thing`, in order of ranks. A thing is plain data that can be pickled."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, thing)
        return found

    def require_same(self, what: str, value: str) -> None:
        """Check that all ranks hold the same `value`. The error message calls the value `what`.

        Raises:
            RunError: a rank differs from rank 0. Every rank raises it.
        """
        values = self.gather(value)
        if wrong := [rank for rank, own in enumerate(values) if own != values[0]]:
            raise RunError(
                f"{what} of trainer rank {', '.join(map(str, wrong))} differs from rank 0's; nothing was committed"
            )

    @contextmanager
    def in_turn(self, what: str) -> Iterator[None]:
        """Run the body on one rank after the other, to save the machine's memory. All ranks leave together.

        `what` names the body. Each name serves one call.
        """
        if self.rank:
            self.store.wait([f"{what}-{self.rank - 1}"], timedelta(seconds=TURN_SECONDS))
        try:
            yield
        finally:
            self.store.set(f"{what}-{self.rank}", "done")
        self.store.wait([f"{what}-{rank}" for rank in range(self.size)], timedelta(seconds=TURN_SECONDS))

    def leave(self) -> None:
        """Leave the process group."""
        dist.destroy_process_group()


def join(folder: Path, rank: int, size: int) -> Ranks:
    """Join a new process group as `rank` of `size`, and return this process's `Ranks`.

    The ranks meet in `folder`, an empty folder of this machine.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    store = FileStore(str(folder / STORE), size)
    dist.init_process_group(
        # Objects use gloo on the CPU. Only tensors of the model use NCCL.
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )
    return Ranks(rank, size, device, PrefixStore("turns", store))


def share(things: Sequence[T], batch: int, rank: int, size: int, filler: T) -> list[T]:
    """Return one rank's part of each batch of `things`, one batch after the other.

    All parts have one length: `filler` replaces missing entries. Neighbours go to different ranks, because they are
    similar in length.
    """
    own: list[T] = []
    for start in range(0, len(things), batch):
        dealt = list(things[start : start + batch])
        dealt += [filler] * (-len(dealt) % size)
        own += dealt[rank::size]
    return own
