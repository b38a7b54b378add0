"""The thread that owns an engine: one thread, first come first served, errors to the caller."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, current_thread

import pytest

from autophage.sampler.owner import OwnerThread


def test_all_work_is_done_in_one_thread() -> None:
    owner = OwnerThread("owner")
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: owner.call(current_thread).name, range(64)))
    assert found == {"owner"}


def test_work_is_done_in_the_order_of_the_calls() -> None:
    owner, running = OwnerThread("owner"), Event()
    done: list[int] = []
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(owner.call, running.wait, 30.0)
        for number in range(8):
            threads.submit(owner.call, done.append, number)
            while owner._queue.qsize() != number + 1:
                time.sleep(0.001)
        running.set()
        assert first.result()
    assert done == list(range(8))


def test_long_work_is_told_that_others_wait() -> None:
    owner, meet = OwnerThread("owner"), Barrier(2)

    def long() -> int:
        assert not owner.wanted
        meet.wait(30.0)
        turns = 0
        while not owner.wanted:
            turns += 1
            time.sleep(0.001)
        return turns

    with ThreadPoolExecutor(2) as threads:
        lasting = threads.submit(owner.call, long)
        meet.wait(30.0)
        assert threads.submit(owner.call, str, 7).result(30.0) == "7"
        assert lasting.result(30.0) >= 0
    assert not owner.wanted


def test_an_error_reaches_its_caller_alone() -> None:
    owner = OwnerThread("owner")
    with pytest.raises(ZeroDivisionError):
        owner.call(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        owner.call(exit)
    assert owner.call(lambda: 1) == 1


def test_work_of_the_owner_is_done_at_once() -> None:
    owner = OwnerThread("owner")
    assert owner.call(owner.call, lambda: current_thread().name) == "owner"


def test_the_thread_ends_with_its_last_user() -> None:
    owner = OwnerThread("owner")
    owner.call(int)
    thread = owner._thread
    assert thread.daemon
    del owner
    gc.collect()
    thread.join(30.0)
    assert not thread.is_alive()
