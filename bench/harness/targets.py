"""Promises, and whether a measurement keeps them. They are made for two CPU cores and judged nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """`value` is None where it was not measured."""

    name: str
    value: float | None
    bound: float
    sense: Literal["at least", "at most"]

    @property
    def kept(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bound if self.sense == "at least" else self.value <= self.bound

    def line(self) -> str:
        word = {True: "kept", False: "MISSED", None: "not measured"}[self.kept]
        found = "" if self.value is None else f"{self.value:.3g}, "
        return f"  {word}: {self.name}: {found}{self.sense} {self.bound:g}"

    def record(self, benchmark: str) -> dict[str, object]:
        facts = {"target": self.name, "value": self.value, "bound": self.bound, "sense": self.sense, "kept": self.kept}
        return {"benchmark": benchmark, **facts}
