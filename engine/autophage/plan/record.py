"""A run's own prediction, kept beside it: `plan.json`, written once when a run begins, so that the report can show it beside
what the run really took.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from autophage.errors import UserError
from autophage.plan.base import base_is_cached
from autophage.plan.estimate import plan
from autophage.plan.machines import here
from autophage.recipe import LoadedRecipe
from autophage.store.atomic import write_text
from autophage.store.rundir import RunDirectory

PREDICTION = "plan.json"


def record_prediction(loaded: LoadedRecipe, run: RunDirectory) -> None:
    """Write what this machine's speeds make of the whole run; a run that has a prediction keeps it, resumed or not.

    Call it before the base model is trained: whether that is still to be done is part of the prediction.
    """
    if (run.root / PREDICTION).is_file():
        return
    try:
        made = plan(loaded.recipe, loaded.arms, here(), base_cached=base_is_cached(loaded.recipe))
    except UserError:  # a damaged table of speeds: `autophage plan` says so, and no run should fail for it
        return
    write_text(run.root / PREDICTION, json.dumps(asdict(made), indent=1, default=str) + "\n")


def read_prediction(run: RunDirectory) -> dict[str, Any] | None:
    """What `record_prediction` wrote; None for a run without it."""
    path = run.root / PREDICTION
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError:  # not a part of what the run promises, so a damaged one is as good as none
        return None
    return found if isinstance(found, dict) else None
