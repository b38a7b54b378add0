"""`[cluster]` and `[control]`: the machines of a run, and its control arms."""

from __future__ import annotations

from pydantic import Field

from autophage.recipe.tables.table import Positive, Table


class ClusterTable(Table):
    """Where a run works. None of it changes what is made, so a run may go on with other values."""

    cells: Positive = Field(1, description="sampler and trainer pairs; arms are divided among them")
    sampler_gpus: Positive = Field(
        1, description="GPUs of a cell's sampler (tensor parallel); without a GPU, its processes"
    )
    trainer_gpus: Positive = Field(1, description="GPUs of a cell's trainer (FSDP); without a GPU, its processes")
    cpus: Positive = Field(1, description="cores that a cell asks the cluster for")
    restarts: int = Field(
        3,
        ge=0,
        le=1000,
        description="times that samplers and trainers of a cell that died are started again; counted anew from each commit",
    )
    patience: float = Field(
        600.0,
        gt=0,
        description="seconds without progress after which an actor is looked at, and three times that after which it counts as "
        "hung; stages that are expected to take long get more",
    )
    grace: float = Field(
        90.0,
        ge=0,
        description="seconds that SIGUSR1, by which a scheduler says that the time is nearly up, leaves for commits",
    )


class ControlTable(Table):
    enabled: bool = Field(True, description="an arm with the same steps on human data only")
