"""Result of one check of the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Result of one check of the machine.

    `ok` is False for a fact that stops a run, and None for information. `found` is the fact in words. The remedy of
    information is advice.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""
