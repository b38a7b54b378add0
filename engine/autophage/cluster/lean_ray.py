"""Starts a private Ray without the processes that a run never asks: API server, autoscaler and log monitor.

Without its dashboard, Ray's API server only counts usage, which is off, and each start waits for it. Nothing scales a machine.
Each actor writes a log file of its own. Ray has no option for this. Where its methods have other names, it starts whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

UNUSED = ("start_api_server", "start_monitor", "start_log_monitor")
"""Methods of Ray's head node, each of which starts one process. They hold for Ray 2.50 to 2.60."""


@contextmanager
def without_unused_processes() -> Iterator[None]:
    """Start only what runs an actor while the body calls `ray.init`."""
    from ray._private.node import Node

    found: dict[str, Callable[..., Any]] = {name: getattr(Node, name) for name in UNUSED if hasattr(Node, name)}
    try:
        for name in found:
            setattr(Node, name, _nothing)
        yield
    finally:
        for name, method in found.items():
            setattr(Node, name, method)


def _nothing(*_: object, **__: object) -> None:
    """Stand in for the start of a process."""
