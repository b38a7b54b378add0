"""What a person sees of a run while it goes on: events are folded into a state, and the state is drawn.

`View` is all that the engine knows of this package: it enters one, hands it every event, and leaves it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self


class View(Protocol):
    """Takes events as they happen. Leaving it restores the terminal, whatever went wrong inside."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def handle(self, event: dict[str, Any]) -> None: ...


def open_view(history: Iterable[Mapping[str, Any]] = ()) -> View:
    """A drawn view on a terminal that can redraw, else plain lines. `history`: earlier events, not shown again."""
    from rich.console import Console

    from autophage.live.plain_view import PlainView
    from autophage.live.rich_view import RichView

    console = Console()
    return RichView(console, history) if console.is_interactive else PlainView(sys.stdout, history)
