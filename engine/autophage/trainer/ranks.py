"""One process group: which rank this process is, and the few things that ranks say to one another.

Ranks make the same calls in the same order; each collective below is such a call. One that is not answered within
`COLLECTIVE_SECONDS` ends with an error, so that a rank that died or went another way is never waited for without end.
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
"""Ranks reach their next collective within the time of one batch of each other; the slowest takes seconds."""
TURN_SECONDS = 3600.0
"""For all ranks to load a large model from a slow disk, one after the other."""
STORE = "ranks"

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    rank: int
    size: int
    device: torch.device
    store: Any

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over ranks, in place."""
        dist.all_reduce(value)
        return value

    def gather(self, thing: T) -> list[T]:
        """What each rank has, by rank; plain data only."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, thing)
        return found

    def require_same(self, what: str, value: str) -> None:
        """Raises:
        RunError: on every rank, where one has another value than rank 0.
        """
        values = self.gather(value)
        if wrong := [rank for rank, own in enumerate(values) if own != values[0]]:
            raise RunError(
                f"{what} of trainer rank {', '.join(map(str, wrong))} differs from rank 0's; nothing was committed"
            )

    @contextmanager
    def in_turn(self, what: str) -> Iterator[None]:
        """One rank after the other, for what needs memory of the machine that is there once; left when all are done."""
        if self.rank:
            self.store.wait([f"{what}-{self.rank - 1}"], timedelta(seconds=TURN_SECONDS))
        try:
            yield
        finally:
            self.store.set(f"{what}-{self.rank}", "done")
        self.store.wait([f"{what}-{rank}" for rank in range(self.size)], timedelta(seconds=TURN_SECONDS))

    def leave(self) -> None:
        dist.destroy_process_group()


def join(folder: Path, rank: int, size: int) -> Ranks:
    """Become `rank` of a new process group that meets in `folder`, which must be empty and of this machine."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    store = FileStore(str(folder / STORE), size)
    dist.init_process_group(
        # Objects travel on the CPU; only tensors of the model go over NCCL.
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )
    return Ranks(rank, size, device, PrefixStore("turns", store))


def share(things: Sequence[T], batch: int, rank: int, size: int, filler: T) -> list[T]:
    """This rank's part of each batch of `things`, every part as long as every other: `filler` makes up for what is missing.

    A batch is dealt out like cards, so that neighbours, which are alike in length, go to different ranks.
    """
    own: list[T] = []
    for start in range(0, len(things), batch):
        dealt = list(things[start : start + batch])
        dealt += [filler] * (-len(dealt) % size)
        own += dealt[rank::size]
    return own
