"""Training of one generation: the pool of an arm, its order of rows, the fit, and the choice of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autophage.data.mix import AnyRow, AnySamples, TrainingOrder, pool_rows
from autophage.data.source import HeldOut, spread
from autophage.data.tokens import decode
from autophage.errors import RunError, UserError
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.train import VALIDATED
from autophage.seeds import derive
from autophage.stages.sources import Sources
from autophage.store.broken import write_broken_batch
from autophage.store.manifest import Metric
from autophage.store.messages import Trained
from autophage.store.weights import Weights
from autophage.trainer.editing import edit_human
from autophage.trainer.fit import FitRequest
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sft import NotFiniteError
from autophage.trainer.validation import BestEpoch


class Fitting:
    """Train the models of arms, one generation a call."""

    def __init__(self, resident: ResidentModel, sources: Sources, inspection: Path | None) -> None:
        """`inspection` is the folder for batches with a loss that is not finite. None discards them."""
        self._resident = resident
        self._sources = sources
        self.inspection = inspection

    def check(self, recipe: Recipe) -> None:
        """Load and check the data and models that training with a recipe needs.

        Raises:
            UserError: no document is left to validate epochs, or the `[anchor]` names an unsuitable teacher.
        """
        if recipe.train.keep == "best":
            self._validation(recipe)
        self._resident.reference(recipe)

    def fit(
        self,
        arm: Arm,
        generation: int,
        start: Weights,
        corpora: Mapping[int, AnySamples],
        meter: Meter,
        optimizer: bytes | None = None,
    ) -> Trained:
        """Train model `generation` of an arm. Return its weights, with statistics of each optimizer step.

        Args:
            start: The weights that training begins with.
            corpora: Samples by generation. Those of the newest corpus may not be written yet.
            meter: Counts optimizer steps and tokens.
            optimizer: AdamW state of the previous generation as bytes, if the recipe carries it.

        Raises:
            RunError: a loss, gradient or weight is not finite.
        """
        recipe, seed = arm.recipe, derive(arm.recipe.seed, "train", arm.name, generation)
        pool, metrics = self._pool(recipe, generation, start, corpora)
        best = self._best_epoch(recipe, len(pool))
        request = FitRequest(
            start=start,
            rows=TrainingOrder(pool, recipe, seed),
            recipe=recipe,
            seed=seed,
            optimizer=optimizer,
            meter=meter,
            after_step=None if best is None else best.step_ended,
        )
        try:
            fitted = self._resident.fit(request)
        except NotFiniteError as error:
            kept = self._keep(error, f"{arm.name}-gen-{generation:03d}-step-{error.step}")
            raise RunError(f"{arm.name}, generation {generation}: {error}{kept}") from error
        weights = fitted.weights if best is None or best.weights is None else best.weights
        tokens = sum(len(row.token_ids) for row in request.rows)
        return Trained(weights, tokens, fitted.steps, fitted.optimizer, metrics)

    def _pool(
        self, recipe: Recipe, generation: int, start: Weights, corpora: Mapping[int, AnySamples]
    ) -> tuple[list[AnyRow], list[Metric]]:
        """Return the rows to train on before any order, and metrics of their edits; none without `mix.human_edit`."""
        pool = pool_rows(self._sources.of(recipe), recipe, corpora)
        if recipe.mix.human_edit is None:
            return pool, []
        self._resident.load(start)
        special = frozenset(self._resident.tokenizer.all_special_ids)
        return edit_human(pool, self._resident.head, special, recipe, generation)

    def _keep(self, error: NotFiniteError, name: str) -> str:
        """Write the batch of an error for inspection. Return a sentence with its path, or "" if nothing is written."""
        if self.inspection is None or not error.batch:
            return ""
        path = self.inspection / f"not-finite-{name}.parquet"
        write_broken_batch(path, error.batch, lambda token_ids: decode(self._resident.tokenizer, token_ids))
        return f" Its batch is in {path}: {len(error.batch)} documents with text, tokens and their log-probs."

    def _best_epoch(self, recipe: Recipe, rows: int) -> BestEpoch | None:
        """Return the judge of epochs of `rows` rows. None if the recipe keeps the last epoch."""
        if recipe.train.keep == "last":
            return None
        return BestEpoch(self._resident, self._validation(recipe), rows, recipe.train.batch_size)

    def _validation(self, recipe: Recipe) -> list[HeldOut]:
        """Return the held-out documents that judge epochs. None of them is measured.

        Raises:
            UserError: all held-out documents are measured.
        """
        documents = self._sources.whole.held_out()
        measured = set(spread(range(len(documents)), recipe.measure.documents))
        spare = [one for place, one in enumerate(documents) if place not in measured]
        if not spare:
            raise UserError(
                f'train.keep = "best" needs held-out documents that are not measured, and all {len(documents)} are. '
                f"Lower measure.documents, or raise source.held_out or source.held_out_documents."
            )
        return spread(spare, VALIDATED)
