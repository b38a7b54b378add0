"""`plan.json`: the prediction of a run, written once when it begins. The report compares it with the run's real cost."""

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
    """Write the predicted cost of a whole run on this machine to `plan.json`, unless that file exists.

    Call this before the base model is trained, because the prediction includes that training. Without a readable table
    of speeds, nothing is written.
    """
    if (run.root / PREDICTION).is_file():
        return
    try:
        made = plan(loaded.recipe, loaded.arms, here(), base_cached=base_is_cached(loaded.recipe))
    except UserError:  # a damaged table of speeds, which `autophage plan` reports; a run does not fail for it
        return
    write_text(run.root / PREDICTION, json.dumps(asdict(made), indent=1, default=str) + "\n")


def read_prediction(run: RunDirectory) -> dict[str, Any] | None:
    """Read the content of a run's `plan.json`; None if the file is missing or damaged."""
    path = run.root / PREDICTION
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError:  # no result depends on the prediction, so a damaged one counts as none
        return None
    return found if isinstance(found, dict) else None
