"""`python -m autophage.track JSON`: the process of a follower. `processes` starts it."""

from __future__ import annotations

import json
import os
import sys

from autophage.recipe.tables.track import TrackTable
from autophage.store.rundir import RunDirectory
from autophage.track import follower

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    table = TrackTable.model_validate(asked["table"])
    code = follower.main(RunDirectory(asked["run"]), asked["tracker"], table, asked["seconds"])
    os._exit(code)  # a package's own threads and exit handlers may wait for a server
