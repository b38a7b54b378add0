"""The stages of a generation on the trainer's side, wired to one resident model.

Each stage is a function of arm, generation and earlier results. Nothing that could change a result is kept between
calls. `loop.py` and the engine therefore share the workbench, and a resumed run computes what an uninterrupted run
computes. The workbench knows neither vLLM nor Ray. The only files it writes are batches kept for inspection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autophage.data.build import RawSource
from autophage.host.devices import element_type
from autophage.plan.light import Light
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.sampler.protocol import EngineSettings
from autophage.stages.canary import Canary
from autophage.stages.examination import Examination
from autophage.stages.fitting import Fitting
from autophage.stages.judging import Judging
from autophage.stages.measuring import MeasureStage
from autophage.stages.prompting import Prompting
from autophage.stages.sizing import Sizing
from autophage.stages.sources import Sources
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.weights import Weights
from autophage.trainer.resident import ResidentModel


class Workbench:
    """The stages of a recipe on one resident model, with their methods."""

    def __init__(
        self,
        recipe: Recipe,
        raw: RawSource,
        model_path: str,
        resident: ResidentModel | None = None,
        inspection: Path | None = None,
    ) -> None:
        """Load the model at `model_path`, unless `resident` is given.

        `inspection` is the folder for batches with a loss that is not finite. None discards them.
        """
        self.recipe = recipe
        self.resident = resident or ResidentModel(model_path, recipe)
        self.tokenizer = self.resident.tokenizer
        sources = Sources(recipe, raw, self.tokenizer)
        self.source = sources.whole
        examination = Examination(recipe, raw, self.resident)
        canary = Canary(self.resident, self.source)
        prompting = Prompting(self.resident, sources, examination)
        self.fitting = Fitting(self.resident, sources, inspection)
        self._canary = canary
        self._sizing = Sizing(recipe, self.resident, prompting, examination, canary)
        self.requests = prompting.requests
        self.documents = prompting.documents
        self.decoding = prompting.decoding
        self.fit = self.fitting.fit
        self.check_canary = canary.check
        self._sources = sources
        self._judging = Judging(self.resident)
        self.measure = MeasureStage(self.resident, sources, prompting, examination, self._judging).measure

    @property
    def canary_prompts(self) -> list[list[int]]:
        """Prompts of the canary, each as token ids."""
        return self._canary.prompts

    def base_weights(self, arm: Arm) -> Weights:
        """Return model 0 of an arm, before any training."""
        return self.resident.base_weights(arm.recipe)

    def judge(self, arm: Arm, samples: Sequence[Sample], meter: Meter) -> list[Metric]:
        """Set the verdict of an arm's gates on samples of model 0, in place. Return metrics of the verdicts.

        `measure` does the same for the corpus of any generation, and measures it.
        """
        source = self._sources.of(arm.recipe)
        return self._judging.judge(arm, 0, self.base_weights(arm), source, samples, meter)

    def engine_settings(self, arms: Sequence[Arm]) -> EngineSettings:
        """Check the arms, and return the settings of an engine that can serve each of them.

        Raises:
            UserError: an arm does not suit the model, the source or the machine. This is the last check before work
                begins.
        """
        for arm in arms:
            self.fitting.check(arm.recipe)
        return self._sizing.engine_settings(arms)

    def light(self) -> Light | None:
        """Measure the speed of light of the model on this device. None if the sampler has several, or if it fails."""
        from autophage.trainer.calibration import light_of

        if self.recipe.cluster.sampler_gpus > 1:
            return None
        sample, dtype = self.recipe.sample, element_type(self.recipe.model.dtype)
        return light_of(self.resident.model, dtype, sample.sequences, sample.written)

    def limit_memory(self, arms: Sequence[Arm]) -> None:
        """Limit this process to the trainer's part of a GPU that several cells share."""
        self._sizing.limit_trainer(arms)

    def notes(self) -> list[str]:
        """Return the pending messages for the user. Each is returned once."""
        note, self.resident.micro_batch.note = self.resident.micro_batch.note, ""
        return [*([note] if note else []), *self._canary.notes()]
