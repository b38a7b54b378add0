"""`[cluster]` and `[control]`: the machines of a run, and its control arms."""

from __future__ import annotations

from pydantic import Field

from autophage.recipe.tables.table import AUTO, AutoOrCount, Positive, Table


class ClusterTable(Table):
    """The machines of a run. No key here changes results, so a run may be resumed with other values."""

    cells: AutoOrCount = Field(
        1,
        description="Number of cells, each a sampler and a trainer. Arms are divided among the cells. auto: as many as the GPUs "
        "hold, at most one for each batch of arms; one without a GPU.",
    )
    cells_per_gpu: AutoOrCount = Field(
        1,
        description="Number of cells that share a GPU. Each has an equal part of its memory. auto: as many as keep the GPU busy "
        "by the estimate of `autophage plan`, within memory and CPU cores. A small model waits for the host most of the time.",
    )
    sampler_gpus: Positive = Field(
        1, description="GPUs of a cell's sampler (tensor parallel). Without GPUs: its processes."
    )
    trainer_gpus: Positive = Field(
        1,
        description="GPUs of a cell's trainer. Each holds the whole model if its memory is enough; else they split the layers "
        "(FSDP). Without GPUs: its processes.",
    )
    cpus: Positive = Field(1, description="CPU cores that a cell requests from the cluster.")
    restarts: int = Field(
        3, ge=0, le=1000, description="Restart budget: maximum restarts of a cell's actors between two commits."
    )
    patience: float = Field(
        600.0,
        gt=0,
        description="Seconds without progress after which an actor is inspected. After three times as long it counts as hung. "
        "Stages that are expected to take long get more.",
    )
    grace: float = Field(
        90.0,
        ge=0,
        description="Seconds for commits after SIGUSR1, which a scheduler sends shortly before its time limit.",
    )

    @property
    def cell_count(self) -> int:
        """Number of cells; one before a choice for the machine."""
        return 1 if self.cells == AUTO else self.cells

    @property
    def sharing(self) -> int:
        """Number of cells that share a GPU; one before a choice for the machine."""
        return 1 if self.cells_per_gpu == AUTO else self.cells_per_gpu


class ControlTable(Table):
    """The control arms: the same steps on human data only."""

    enabled: bool = Field(True, description="Add a control to every arm: the same steps on human data only.")
