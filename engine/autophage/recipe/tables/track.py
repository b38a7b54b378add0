"""`[track]`: experiment trackers that receive a run's metrics."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator

from autophage.recipe.tables.table import PathText, Table, require_distinct

Tracker = Literal["wandb", "mlflow", "tensorboard", "trackio"]
TRACKERS: Final[tuple[Tracker, ...]] = get_args(Tracker)
ShortText = Annotated[str, Field(min_length=1, max_length=500)]


class TrackTable(Table):
    """Trackers that receive a run. No key here changes results, so a run may be resumed with other values.

    Nothing is sent unless `to` names a tracker. Keys and passwords come from the environment alone (WANDB_API_KEY, HF_TOKEN,
    MLFLOW_TRACKING_TOKEN).
    """

    to: list[Tracker] = Field(default_factory=list, description="Trackers that receive the run, any number at once.")
    project: ShortText = Field("autophage", description="Project of wandb and trackio, experiment of mlflow.")
    group: ShortText | None = Field(
        None, description="Group of the run's arms. Left out: the run's name and the first digits of its identity."
    )
    samples: int = Field(
        0,
        ge=0,
        le=1000,
        description="Samples of each generation that are sent as text. 0: no text is sent, and the report is sent without "
        "its samples.",
    )
    wait: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="Seconds that the command waits at its end for trackers that still receive, unless they failed.",
    )
    folder: PathText | None = Field(
        None,
        description="Folder of local files: event files of tensorboard, offline files of wandb, database of trackio. Left out: "
        "RUN/track for tensorboard and wandb, trackio's own place for trackio.",
    )
    mlflow_uri: ShortText | None = Field(
        None,
        description="Address of mlflow, such as http://HOST:5000 or sqlite:///mlflow.db. Left out: mlflow's own default.",
    )
    wandb_url: ShortText | None = Field(None, description="Address of a wandb server. Left out: wandb's own default.")
    wandb_entity: ShortText | None = Field(None, description="User or team of wandb. Left out: that of the API key.")
    trackio_space: ShortText | None = Field(
        None, description="Hugging Face Space of trackio, such as USER/NAME. Left out: trackio logs on this machine."
    )

    _distinct = field_validator("to")(require_distinct)
