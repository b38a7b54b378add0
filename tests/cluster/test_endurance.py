"""A run whose processes are killed again and again ends like an undisturbed one. A long run does not grow.

Each takes minutes and belongs to `make test-long`. With `-s` they print their measurements.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster.watched import begun, history, marked

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(5400)]

KILLS = 20
VICTIMS = {
    "sampler": "ray::SamplerActor",
    "trainer": "ray::TrainerActor",
    "driver": "-m autophage run",
    "raylet": "/raylet/raylet ",
    "gcs": "/gcs/gcs_server ",
}
PAUSES = (4.0, 60.0)
"""Seconds between two kills: from before vLLM is up to after many commits."""

GENERATIONS = 50
WARM = 10
"""Generations until caches, allocator pools and lazily imported modules exist."""
FLAT = 0.05


def test_twenty_processes_killed_at_random_moments_of_a_demo(
    contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "shot-at"
    assert autophage("run", "demo", "--out", plain).returncode == 0
    seed = int(os.environ.get("AUTOPHAGE_TEST_SEED", random.randrange(10_000)))
    rng, calls = random.Random(seed), 0
    shots: list[str] = []
    code = -1
    while code != 0:
        calls += 1
        assert calls <= KILLS + 2, f"seed {seed}: it does not come to its end after {shots}"
        with begun(out, variables, recipe="demo") as process:
            while process.poll() is None and len(shots) < KILLS:
                kind = rng.choice(list(VICTIMS))
                wait(process, rng.uniform(*PAUSES))
                shots += [kind] * shoot(out, VICTIMS[kind])
            said, _ = process.communicate(timeout=1200)
            code = process.returncode
        assert "Traceback" not in said, f"seed {seed}, after {shots}: {said[-3000:]}"
        assert code in (0, 1, -signal.SIGKILL), f"seed {seed}, after {shots}: {said[-3000:]}"
    print(f"seed {seed}: {len(shots)} killed in {calls} calls: {', '.join(shots)}")
    assert len(shots) == KILLS, "the run was over before the last shot"
    assert contents(out) == contents(plain)
    assert autophage("verify", out).returncode == 0
    assert marked(out) == {}


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def shoot(out: Path, command: str) -> bool:
    """Kill a process of the run by its command line. Returns False where there is none."""
    for pid, words in marked(out).items():
        if command in words:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


@dataclass(frozen=True)
class Held:
    """Resources of all processes of a run."""

    processes: int
    memory: float
    """MiB of anonymous pages. A page that several processes share counts once."""
    descriptors: int
    shared: float
    """MiB of shared memory."""


def held(out: Path) -> Held:
    memory = descriptors = shared = 0.0
    pids = list(marked(out))
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
            descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:  # it has ended meanwhile
            continue
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        memory += kib["Pss_Anon"] / 1024
        shared += kib["Pss_Shmem"] / 1024
    return Held(len(pids), memory, int(descriptors), shared)


@contextmanager
def watching(out: Path, seen: list[tuple[int, Held]]) -> Iterator[None]:
    """Measure the run each time that a generation of all its arms has been committed."""
    over = threading.Event()

    def look() -> None:
        last = -1
        while not over.wait(0.2):
            done = [event["generation"] for event in history(out) if is_commit(event)]
            newest = max((one for one in set(done) if done.count(one) == max(map(done.count, done))), default=-1)
            if newest > last:
                last = newest
                seen.append((newest, held(out)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_commit(event: dict[str, object]) -> bool:
    return event["kind"] == "stage-end" and event["stage"] == "commit"


def growth(values: Sequence[float]) -> float:
    """Return the median of the last third minus that of the first."""
    third = len(values) // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return last / first - 1.0


def test_fifty_generations_take_no_more_than_the_first(variables: dict[str, str], tmp_path: Path) -> None:
    out, seen = tmp_path / "long", list[tuple[int, Held]]()
    with begun(out, variables, f"generations={GENERATIONS}") as process, watching(out, seen):
        said, _ = process.communicate(timeout=3000)
    assert process.returncode == 0, said[-3000:]
    warm = [one for generation, one in seen if generation >= WARM]
    swaps = [
        event["seconds"]
        for event in history(out)
        if event["kind"] == "stage-end" and event["stage"] == "swap" and event["generation"] >= WARM
    ]
    grown = {name: growth([getattr(one, name) for one in warm]) for name in ("memory", "descriptors", "shared")}
    grown["swap"] = growth(swaps)
    first, last = warm[0], warm[-1]
    print(
        f"{len(seen)} looks; {first.processes} processes, {first.memory:.0f} MiB, {first.descriptors} descriptors, "
        f"{first.shared:.1f} MiB shared at generation {WARM}; {last.processes}, {last.memory:.0f}, {last.descriptors}, "
        f"{last.shared:.1f} at the end; swap {1000 * statistics.median(swaps):.0f} ms; "
        + ", ".join(f"{name} {change:+.1%}" for name, change in grown.items())
    )
    assert {name: change for name, change in grown.items() if change > FLAT} == {}
