"""The settings of one arm: the keys at the top of a recipe, and one frozen pydantic model per TOML table.

Gates receive `Settings`. `Recipe` adds the gates, the sweep and the remedies. Importing this module imports no torch.
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
from autophage.recipe.tables.table import AUTO, Seed, Table
from autophage.recipe.tables.track import TrackTable
from autophage.recipe.tables.train import TrainTable

NO_REMEDY: Final = "none"
"""Name that stands for no remedy: the plain loop, in which models train on their samples."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of the names of runs and remedies. Such a name is safe as a folder name."""
WORLD_TOKENS = 64
"""Default of `sample.max_tokens` for a world, whose documents are shorter."""


class Settings(Table):
    """Every key of a recipe but its gates, sweep and remedies."""

    name: str = Field(min_length=1, max_length=64, pattern=NAME, description="Name of the run.")
    description: str = Field("", description="One-line summary, shown by `autophage recipes`.")
    profile: str = Field("", max_length=64, description="Profile of [profiles] to apply. --profile overrides it.")
    seed: Seed = Field(1, description="Random seed of sampling, data order and adapter initialisation.")
    generations: int = Field(5, ge=1, le=10_000, description="Number of models trained after model 0.")
    remedy: str = Field(
        NO_REMEDY,
        max_length=64,
        pattern=NAME,
        description="Remedy of [remedies] that every arm has. none: the loop without a remedy.",
    )
    devices: Literal["auto", "serial", "colocated", "disjoint"] = Field(
        AUTO,
        description="Placement of sampler and trainer. serial: they take turns. colocated: both run at once on one GPU. "
        "disjoint: each has its own GPUs. Without a GPU, colocated and disjoint share the CPU cores. auto: serial on a CPU; "
        "on GPUs by their number and memory.",
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
    track: TrackTable = TrackTable()

    @property
    def trains_language_model(self) -> bool:
        return self.learner.kind == LANGUAGE_MODEL

    def measures_model(self, generation: int) -> bool:
        """Return True if the model of a generation is measured, as `measure.every` decides."""
        return generation % self.measure.every == 0 or generation >= self.generations

    @property
    def takes_turns(self) -> bool:
        """True if sampler and trainer take turns. They do too before a choice for the machine."""
        return self.devices in ("serial", AUTO)

    @property
    def refers(self) -> bool:
        """True if training evaluates `anchor.reference`, with a second forward pass over the training data."""
        synthetic = self.mix.alpha > 0 or self.mix.schedule != "constant"
        return self.anchor.kl > 0 or (self.anchor.distills and synthetic)

    @property
    def has_maker(self) -> bool:
        return self.maker.kind != NONE

    @property
    def annotated(self) -> bool:
        """True if a prompt is the beginning of the document that the model writes."""
        return self.sample.prompts == "annotated" and not self.has_maker

    @property
    def samples_end(self) -> bool:
        """True if a sample ends at the model's end token, False if it always has `max_tokens`.

        Human continuations of a text are cut to a fixed length and have no end token. Answers to a maker's prompts have
        one.
        """
        if self.sample.end == "auto":
            return self.source.kind == "world" or self.has_maker
        return self.sample.end == "stop"

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of a sample, with the default of its source filled in."""
        if self.sample.max_tokens is not None:
            return self.sample.max_tokens
        if self.source.kind == "world":
            return WORLD_TOKENS
        begun = self.sample.annotation if self.annotated else 0
        return max(1, self.source.continuation - begun)
