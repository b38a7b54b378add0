"""Steps on a GPU in order of importance, their needs, and the arithmetic of the budget. Standard library only.

Each step has planned seconds. It starts if so many are left, and is ended after half as many again or at the end of the budget.
Planned seconds are for an H200 and include the start of the process. They were set before one was measured; the row `seconds` of
each step has the real ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import light
from harness.rows import aligned
from harness.shapes import BLOCK, SHAPES

BUDGET = 540.0
"""Seconds of a command. A lease of ten minutes leaves a minute for the start of the machine."""
QUICK_BUDGET, QUICK_SECONDS = 1800.0, 150.0
"""Of a quick command, and planned for each of its steps. Two busy cores may take ten times as long as quiet ones."""
GRACE = 1.5
"""Largest time of a step as a multiple of the planned one."""
KERNELS = ("torch", "triton")
TRAINER = ("torch", "transformers", "peft", "trl", "datasets", "pydantic", "pyarrow")
ENGINE = (*TRAINER, "vllm")
PARTS = {
    "a": "kernels at V = 128,256, beside eager torch, torch.compile and the bound; the kernels' GPU tests",
    "b": "start of the engine, swap of a rank-32 adapter of 8B in memory, canary differences",
    "c": "recording on and off at 256 sequences",
    "d": "one generation of 1B, as a fraction of the lower bound",
    "e": "LoRA tax: rate with K adapters in a batch over the rate without LoRA",
    "f": "recording and a generation of 8B",
    "g": "sampler and trainer at once on the GPU",
}
CONCURRENCY = 256
SIDES = ("sampler", "trainer")
"""Processes of the step `both`."""


@dataclass(frozen=True)
class Step:
    """One process. `name` with `shape` identifies the step in a file of rows."""

    parts: str
    """Letters of `PARTS` that the step measures."""
    name: str
    """Also the name of its worker."""
    shape: str
    seconds: float
    needs: tuple[str, ...] = ENGINE
    """Packages that must be installed."""
    without: str = ""
    """Package whose presence makes the step superfluous."""
    samples: int = CONCURRENCY
    tokens: int = 128
    rank: int = 16
    batch_size: int = 32
    adapters: tuple[int, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Step:
        """The step of a process, from the JSON that it was given."""
        own: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**own)

    @property
    def key(self) -> str:
        return f"{self.name}-{self.shape}" if self.shape else self.name


def full() -> list[Step]:
    """The steps on a GPU. The first six parts take two commands of `BUDGET` seconds."""
    tax = (0, 1, 4, 16, 64)
    return [
        Step("a", "kernels", "", 100, KERNELS),
        Step("a", "tests", "", 100, (*KERNELS, "pytest")),
        Step("a", "compiled", "", 80, KERNELS),
        Step("b", "swap", "8b", 150, samples=32, tokens=64, rank=32, batch_size=8),
        Step("d", "train", "1b", 60, TRAINER, without="vllm", tokens=256),
        Step("f", "train", "8b", 90, TRAINER, without="vllm", samples=64, tokens=256, batch_size=8),
        Step("cd", "arm", "1b", 105, samples=2048, tokens=256),
        Step("e", "plain", "1b", 45),
        Step("e", "tax", "1b", 75, adapters=tax),
        Step("e", "plain", "8b", 70),
        Step("e", "tax", "8b", 110, adapters=tax),
        Step("f", "arm", "8b", 160, samples=512, tokens=256),
        Step("g", "both", "1b", 75, samples=512, tokens=256),
    ]


def quick() -> list[Step]:
    """Every step at the smallest shape, on a GPU or a CPU. It shows that everything works. Its figures mean nothing."""
    small: dict[str, Any] = {"shape": "tiny", "samples": 16, "tokens": 16, "rank": 8, "batch_size": 8}
    steps: dict[str, Step] = {}
    for step in full():
        changes = small if step.shape else {}
        adapters = (0, 1, 2) if step.adapters else ()
        steps.setdefault(step.name, replace(step, seconds=QUICK_SECONDS, adapters=adapters, **changes))
    return list(steps.values())


def chosen(steps: Sequence[Step], only: Sequence[str]) -> list[Step]:
    """Steps of the named parts or steps.

    Raises:
        ValueError: a name is of neither.
    """
    known = {*PARTS, *(step.key for step in steps)}
    if unknown := sorted(set(only) - known):
        raise ValueError(f"--only knows {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return [step for step in steps if not only or step.key in only or set(step.parts) & set(only)]


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def why_not(step: Step, has: Callable[[str], bool]) -> str:
    """Reason why a step cannot run or need not run here; empty if it can."""
    if step.without and has(step.without):
        return f"{step.without} is installed, and other steps show more"
    missing = [package for package in step.needs if not has(package)]
    return f"needs {', '.join(missing)}, not installed here" if missing else ""


def deadline(step: Step, left: float) -> float | None:
    """Seconds after which a step is ended; None if the budget does not hold its planned time."""
    return min(GRACE * step.seconds, left) if step.seconds <= left else None


def commands(steps: Sequence[Step], budget: float) -> list[int | None]:
    """Number of the command that runs each step, if every step takes its planned time. None if the budget never holds it.

    A command runs each open step that fits into what is left.
    """
    number, placed = 1, dict.fromkeys(range(len(steps)), 0)
    while open_steps := [place for place, command in placed.items() if not command and steps[place].seconds <= budget]:
        left = budget
        for place in open_steps:
            if steps[place].seconds <= left:
                placed[place], left = number, left - steps[place].seconds
        number += 1
    return [command or None for command in placed.values()]


def shown(steps: Sequence[Step], budget: float, device: str, has: Callable[[str], bool] = installed) -> str:
    """The plan as text."""
    runs = [step for step in steps if not why_not(step, has)]
    numbers = dict(zip(runs, commands(runs, budget), strict=True))
    cells: list[tuple[str, ...]] = [("part", "step", "needs", "samples", "tokens", "rank", "minutes", "command")]
    for step in steps:
        sizes = (str(step.samples), str(step.tokens), str(step.rank)) if step.shape else ("", "", "")
        needs = (
            "vllm, trl, ..." if "vllm" in step.needs else "trl, ..." if "trl" in step.needs else ", ".join(step.needs)
        )
        place = "not here" if step not in numbers else str(numbers[step] or "never")
        cells.append((step.parts, step.key, needs, *sizes, f"{step.seconds / 60:.1f}", place))
    lines = [
        f"A command takes {budget:g} s at most. The same command again, with the same --out, goes on where the first ended.",
        *aligned(cells),
        "",
        f"Minutes of the steps that run here: {sum(step.seconds for step in runs) / 60:.1f}",
        *(f"  {letter}  {_minutes(runs, letter)}  {text}" for letter, text in PARTS.items()),
    ]
    lines += [f"Not here: {step.key}: {reason}" for step in steps if (reason := why_not(step, has))]
    gpu = light.named(device) or light.GPUS["H200"]
    lines += [
        f"Lower bound of a generation, {step.shape}, {step.samples} samples of {step.tokens} tokens: "
        f"{light.generation(work_of(step), gpu):.2f} s ({'this GPU' if light.named(device) else 'H200'})"
        for step in steps
        if step.name == "arm" and step.shape != "tiny"
    ]
    return "\n".join(lines)


def _minutes(steps: Sequence[Step], letter: str) -> str:
    """Minutes of a part. A step of two parts counts in the first."""
    own = [step for step in steps if letter in step.parts]
    seconds = sum(step.seconds for step in own if step.parts[0] == letter)
    with_other = sorted({step.parts[0] for step in own} - {letter})
    return f"{seconds / 60:4.1f}" if seconds or not with_other else f"in {with_other[0]}"


def work_of(step: Step, trained: float | None = None) -> light.GenerationWork:
    """Least bytes and FLOPs of the step's generation, with weights of 16 bits. `trained` is tokens of a training row."""
    shape = SHAPES[step.shape]
    return light.GenerationWork(
        parameters=shape.parameters,
        weight_bytes=2 * shape.parameters,
        kv_bytes_per_token=shape.kv_bytes_per_token(2),
        adapter_bytes=2 * shape.adapter_parameters(step.rank),
        samples=step.samples,
        prompt=BLOCK,
        tokens=step.tokens,
        trained=trained or step.tokens + 1,
        concurrency=CONCURRENCY,
    )
