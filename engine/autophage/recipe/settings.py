"""The settings of one arm: a recipe's own keys, and one frozen pydantic model per TOML table.

A gate is told these settings and is not among them: `Recipe` adds the gates, the sweep and the remedies. Torch-free, so that
`plan`, `status` and `report` start at once.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.anchor import AnchorTable
from autophage.recipe.tables.cluster import ClusterTable, ControlTable
from autophage.recipe.tables.learner import LANGUAGE_MODEL, LearnerTable
from autophage.recipe.tables.maker import NONE, MakerTable
from autophage.recipe.tables.measure import MeasureTable
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.questions import QuestionsTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.table import Seed, Table
from autophage.recipe.tables.train import TrainTable

NAKED: Final = "none"
"""The loop without a remedy. Every recipe has it."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of the names of runs and remedies: safe as a folder name."""


class Settings(Table):
    """Every key of a recipe but its gates, sweep and remedies."""

    name: str = Field(min_length=1, max_length=64, pattern=NAME, description="of the run")
    description: str = Field("", description="one line for `autophage recipes`")
    profile: str = Field(
        "", max_length=64, description="which of the file's [profiles] is meant; --profile chooses too"
    )
    seed: Seed = Field(1, description="of sampling, data order and adapters")
    generations: int = Field(5, ge=1, le=10_000, description="models trained after model 0")
    remedy: str = Field(
        NAKED, max_length=64, pattern=NAME, description="which of [remedies] an arm has; none is the naked loop"
    )
    devices: Literal["serial", "colocated", "disjoint"] = Field(
        "serial",
        description="serial: sampler and trainer take turns; colocated: both at once on one GPU; "
        "disjoint: each its own GPUs. Without a GPU the last two share the cores",
    )
    learner: LearnerTable = LearnerTable()
    model: ModelTable = ModelTable()
    base: BaseTable = BaseTable()
    source: SourceTable = SourceTable()
    sample: SampleTable = SampleTable()
    maker: MakerTable = MakerTable()
    mix: MixTable = MixTable()
    train: TrainTable = TrainTable()
    anchor: AnchorTable = AnchorTable()
    measure: MeasureTable = MeasureTable()
    questions: QuestionsTable = QuestionsTable()
    cluster: ClusterTable = ClusterTable()
    control: ControlTable = ControlTable()

    @property
    def trains_language_model(self) -> bool:
        return self.learner.kind == LANGUAGE_MODEL

    @property
    def refers(self) -> bool:
        """Whether training looks at `anchor.reference`: a second forward pass over what is trained on."""
        synthetic = self.mix.alpha > 0 or self.mix.schedule != "constant"
        return self.anchor.kl > 0 or (self.anchor.distills and synthetic)

    @property
    def has_maker(self) -> bool:
        return self.maker.kind != NONE

    @property
    def annotated(self) -> bool:
        """Whether prompts are the beginnings of the documents that are written."""
        return self.sample.prompts == "annotated" and not self.has_maker

    @property
    def samples_end(self) -> bool:
        """Whether a sample may end itself. Human continuations of a text are cut to length and never do; answers do."""
        if self.sample.end == "auto":
            return self.source.kind == "world" or self.has_maker
        return self.sample.end == "stop"

    @property
    def max_tokens(self) -> int:
        """Tokens a sample may have, with the default of its source filled in."""
        if self.sample.max_tokens is not None:
            return self.sample.max_tokens
        if self.source.kind == "world":
            return 64
        begun = self.sample.annotation if self.annotated else 0
        return max(1, self.source.continuation - begun)
