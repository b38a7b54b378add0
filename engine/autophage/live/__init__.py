"""Live views of a run. Events are folded into a state, and the state is drawn.

The engine uses `View` alone: it enters a view, passes it every event, and leaves it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self


class View(Protocol):
    """Context manager that shows the events of a run as they happen.

    Leaving the view restores the terminal, also after an error.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def handle(self, event: dict[str, Any]) -> None: ...


def open_view(history: Iterable[Mapping[str, Any]] = ()) -> View:
    """Open a view that draws on an interactive terminal, or one that prints plain lines elsewhere.

    `history` holds events of earlier sessions. They set the state and are not shown again.
    """
    from rich.console import Console

    from autophage.live.plain_view import PlainView
    from autophage.live.rich_view import RichView

    console = Console()
    return RichView(console, history) if console.is_interactive else PlainView(sys.stdout, history)
