"""How often what died is started again: a budget that every commit renews. Pure counting.

A run of days may lose many processes to other people's memory or a driver's fault, each time with hours of commits in
between: that costs nothing. A process that dies again and again before anything is committed will do so for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Restarts:
    """At most `most` restarts in a row without a commit in between."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self) -> bool:
        """Whether one more restart is granted; it counts."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def tell(self, emit: Callable[..., None], actors: Sequence[str], lost: Exception) -> None:
        """Say that `actors` are started again, and why, to the history and to the user."""
        emit("restart", actors=actors, cause=str(lost), number=self.taken, most=self.most)
        emit("note", text=f"{lost} Starting again ({self.taken} of {self.most} times without a commit)")

    def renew(self) -> None:
        """Something was committed: what died before it did not stop the run."""
        self.taken = 0
