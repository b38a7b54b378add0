"""Samplers on one GPU start in turn. On a CPU none waits."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from autophage.cluster.actors import one_at_a_time

HELD_SECONDS = 0.3


def start(gpu: str, folder: str, spans: multiprocessing.SimpleQueue[tuple[float, float]]) -> None:
    tempfile.tempdir = folder
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with one_at_a_time():
        began = time.monotonic()
        time.sleep(HELD_SECONDS)
        spans.put((began, time.monotonic()))


def overlapping(gpus: tuple[str, str], folder: Path) -> bool:
    """Return True if two processes on these GPUs were in the block at the same time."""
    context = multiprocessing.get_context("fork")
    spans: multiprocessing.SimpleQueue[tuple[float, float]] = context.SimpleQueue()
    processes = [context.Process(target=start, args=(gpu, str(folder), spans)) for gpu in gpus]
    for process in processes:
        process.start()
    first, second = sorted([spans.get(), spans.get()])
    for process in processes:
        process.join()
    return second[0] < first[1]


@pytest.mark.parametrize(("gpus", "together"), [(("0", "0"), False), (("0", "1"), True), (("", ""), True)])
def test_starts_on_one_gpu_exclude_each_other(gpus: tuple[str, str], together: bool, tmp_path: Path) -> None:
    assert overlapping(gpus, tmp_path) is together
