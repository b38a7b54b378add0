"""The restart budget: how many restarts of a cell's actors are allowed between two commits. Pure counting.

A run of days may lose many processes to foreign memory use or driver faults. Restarts cost little if commits lie
between them. A process that dies repeatedly before a commit would never reach one.
"""

from __future__ import annotations

from collections.abc import Sequence

from autophage.store.rundir import Emit


class RestartBudget:
    """At most `most` restarts of a cell's actors without a commit in between."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self) -> bool:
        """Count one more restart and return True. Return False where the budget is spent."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def report(self, emit: Emit, actors: Sequence[str], lost: Exception) -> None:
        """Record the names of the actors that start again and the error `lost`, and tell the user."""
        emit("restart", actors=actors, cause=str(lost), number=self.taken, most=self.most)
        emit("note", text=f"{lost} Restarting it ({self.taken} of {self.most} restarts without a commit)")

    def renew(self) -> None:
        """Restore the whole budget after a commit."""
        self.taken = 0
