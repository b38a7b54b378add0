"""The process of a trainer rank other than 0: `python -m autophage.trainer.follower FD FD`. `trainer.group` starts it."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from autophage.host import environment

if __name__ == "__main__":
    environment.apply()
    from autophage.trainer.group import follow

    connection, alive = map(int, sys.argv[1:])
    try:
        follow(Connection(connection), alive)
    except EOFError:
        sys.exit(0)  # rank 0 closed the connection
