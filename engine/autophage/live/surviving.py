"""A view that may lose its terminal without harm to the run."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from autophage.live import View


class SurvivingView:
    """Pass events on to `view` until its output fails: the pipe's reader ended, the disk of the log is full.

    The run goes on without a view. Its history is in the run directory.
    """

    def __init__(self, view: View) -> None:
        self._view: View | None = view

    def __enter__(self) -> Self:
        if self._view is not None:
            self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view is not None:
            try:
                self._view.__exit__(kind, error, trace)
            except OSError:
                self._view = None

    def handle(self, event: dict[str, Any]) -> None:
        if self._view is None:
            return
        try:
            self._view.handle(event)
        except OSError:  # views write to the terminal alone
            self._view = None
