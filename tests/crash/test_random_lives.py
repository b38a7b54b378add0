"""Random lives of a run under Hypothesis, with deaths, forks, damage and repairs in any order.

In the end all undamaged files equal those of an undisturbed run. `-m long` lives 200 of them.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.crash.conftest import Workshop

from autophage.store.atomic import TEMPORARY
from autophage.store.manifest import MANIFEST, committed
from autophage.store.rundir import RunDirectory

STEPS = 12
LIVES, SAMPLED_LIVES = 200, 5


class Life(RuleBasedStateMachine):
    """One run directory. `damaged` is True from a change of committed files to the next repair."""

    workshop: Workshop
    recipe: Path
    require_intact: Callable[..., None]
    folder: Path
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.home = self.folder / f"life-{next(self.numbers)}"
        self.out = self.home / "run"
        self.home.mkdir()
        self.damaged = self.repaired = False
        self.story: list[str] = []

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    def do(self, *arguments: object, kill_at: int = 0) -> int:
        code = self.workshop(*arguments, kill_at=kill_at)
        self.story.append(f"{' '.join(map(str, arguments))} (kill at {kill_at}) -> {code}")
        assert code in (0, 1, 2, -signal.SIGKILL), self.told()
        assert "Traceback" not in self.workshop.said, self.told()
        assert "unexpected" not in self.workshop.said, self.told()
        return code

    def told(self) -> str:
        return "\n".join([*self.story, self.workshop.said])

    @property
    def command(self) -> tuple[object, ...]:
        return ("run", self.recipe, "--out", self.out)

    @rule()
    def run(self) -> None:
        code = self.do(*self.command)
        if not self.damaged:
            assert code == 0, self.told()
            self.require_intact(self.out, self.told(), repaired=self.repaired)

    @rule(point=st.integers(1, 320))
    def die(self, point: int) -> None:
        """Die at a point of the remaining work, if it has so many."""
        code = self.do(*self.command, kill_at=point)
        assert self.damaged or code in (0, -signal.SIGKILL), self.told()

    @precondition(lambda self: self.begun)
    @rule(generation=st.integers(0, 2), point=st.one_of(st.just(0), st.integers(1, 200)))
    def fork(self, generation: int, point: int) -> None:
        """Fork into a directory of its own, which replaces an undamaged run. The fork may die while it copies."""
        new = self.home / f"fork-{next(self.numbers)}"
        code = self.do("run", self.recipe, "--out", new, "--fork-from", f"{self.out}@{generation}", kill_at=point)
        if code in (1, 2):
            assert not new.exists(), self.told()
            if not self.damaged:
                made = [len(committed(RunDirectory(self.out), arm)) for arm in ("main", "control")]
                assert min(made) <= generation, self.told()
        elif RunDirectory(new).exists and not self.damaged:
            self.out, self.repaired = new, False
        else:
            shutil.rmtree(new, ignore_errors=True)

    @precondition(lambda self: self.files)
    @rule(seed=st.integers(0, 2**32), how=st.sampled_from(["flip", "flip", "cut", "remove", "add", "unlist"]))
    def damage(self, seed: int, how: str) -> None:
        """Change a file of a manifest. `verify` reports it at once.

        A newest generation without its folder or manifest counts as never committed.
        """
        rng = random.Random(seed)
        path = rng.choice(self.files)
        self.story.append(f"{how} {path}")
        if how == "remove":
            path.unlink()
        elif how == "add":
            path.with_name(f"{rng.randrange(10**6)}.bin").write_bytes(b"foreign")
        elif how == "unlist":
            shutil.rmtree(path.parent)
        else:
            content = bytearray(path.read_bytes())
            place = rng.randrange(len(content))
            content[place] ^= 1 << rng.randrange(8)
            path.write_bytes(content[:place] if how == "cut" else content)
        if not self.damaged and how != "unlist" and not (how == "remove" and path.name == MANIFEST):
            assert self.do("verify", self.out) == 1, self.told()
        self.damaged = True

    @precondition(lambda self: self.begun)
    @rule()
    def verify(self) -> None:
        code = self.do("verify", self.out)
        assert self.damaged or code == 0, self.told()

    @precondition(lambda self: self.begun)
    @rule(point=st.one_of(st.just(0), st.just(0), st.integers(1, 30)))
    def repair(self, point: int) -> None:
        """Repair. A repair may die as well, and the next one goes on."""
        self.repaired = True
        code = self.do("verify", self.out, "--repair", kill_at=point)
        if code != -signal.SIGKILL:
            assert code == 0, self.told()
            assert self.do("verify", self.out) == 0, self.told()
            self.damaged = False

    @property
    def begun(self) -> bool:
        return RunDirectory(self.out).exists

    @property
    def files(self) -> list[Path]:
        """Return all manifests and the files that they list."""
        folders = [path.parent for path in sorted(self.out.glob(f"arms/*/gen-*/{MANIFEST}"))]
        return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]

    @invariant()
    def nothing_half_written_counts(self) -> None:
        assert not any(path.name.endswith(TEMPORARY) and (path.parent / MANIFEST).is_file() for path in self.files)


def live(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workshop: Workshop,
    recipe: Path,
    require_intact: Callable[..., None],
    lives: int,
) -> None:
    for name, value in {
        "workshop": workshop,
        "recipe": recipe,
        "folder": tmp_path,
        "require_intact": staticmethod(require_intact),
    }.items():
        monkeypatch.setattr(Life, name, value, raising=False)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=(Phase.generate,),  # a life that went wrong tells its story; to make it shorter takes too long
            derandomize=lives == SAMPLED_LIVES,
            suppress_health_check=checks,
        ),
    )


@pytest.mark.thorough
def test_a_few_lives(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workshop: Workshop,
    recipe: Path,
    require_intact: Callable[..., None],
) -> None:
    live(monkeypatch, tmp_path, workshop, recipe, require_intact, SAMPLED_LIVES)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_lives(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workshop: Workshop,
    recipe: Path,
    require_intact: Callable[..., None],
) -> None:
    live(monkeypatch, tmp_path, workshop, recipe, require_intact, LIVES)
