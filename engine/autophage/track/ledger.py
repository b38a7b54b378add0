"""Record of the generations that a tracker has received: `RUN/track/TRACKER.json`, written after each delivery.

A generation counts as sent if the ledger has the sha256 of its manifest. A generation that was made again has another. After a
crash between a delivery and its entry, the generation is sent a second time under the same name and step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autophage.recipe.tables.track import TrackTable
from autophage.store.atomic import write_text
from autophage.store.rundir import RunDirectory

FOLDER = "track"


@dataclass
class Ledger:
    """Deliveries to one tracker.

    `destination` names the place that has them. `sent` maps an arm to the sha256 of its manifests, from generation 0 on.
    `report` is the sha256 of the report that was sent, empty before.
    """

    destination: str
    sent: dict[str, list[str]] = field(default_factory=dict)
    report: str = ""

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def ledger_path(run: RunDirectory, tracker: str) -> Path:
    return run.root / FOLDER / f"{tracker}.json"


def destination(tracker: str, table: TrackTable) -> str:
    """Return the place to which a table sends, as text. Another place has none of the deliveries."""
    own = {
        "wandb": (table.wandb_url, table.wandb_entity, table.folder),
        "mlflow": (table.mlflow_uri,),
        "tensorboard": (table.folder,),
        "trackio": (table.trackio_space, table.folder),
    }[tracker]
    return json.dumps([table.project, table.group, table.samples, *own])


def read_ledger(path: Path, place: str) -> Ledger:
    """Read the ledger of a tracker. It is empty if there is none, if it is damaged, or if it is of another destination."""
    try:
        found = Ledger(**json.loads(path.read_text("utf-8")))
        entries = [entry for hashes in found.sent.values() for entry in hashes]
    except (OSError, ValueError, TypeError, AttributeError):
        return Ledger(place)
    sound = all(isinstance(entry, str) for entry in (*entries, found.report))
    return found if sound and found.destination == place else Ledger(place)
