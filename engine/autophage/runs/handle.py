"""Read a run directory from Python: recipe, arms, metrics, corpora.

`Run` holds only a path. Each call reads the files that are committed at that moment. A run that another process
writes can therefore be read too. Imports of pyarrow and of the recipe's schema wait for their first use.
"""

from __future__ import annotations

import difflib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autophage.errors import UserError
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

    from autophage.recipe import Recipe
    from autophage.recipe.arms import Arm
    from autophage.store.manifest import Manifest
    from autophage.store.verify import Verification


def open_run(directory: str | os.PathLike[str]) -> Run:
    """Open a run directory for reading.

    The run may be unfinished, and another process may be writing it.

    Args:
        directory: The directory that `autophage run --out` or `autophage.run` wrote.

    Raises:
        UserError: The directory holds no run, or a link in it leads out of it.

    Examples:
        >>> run = ap.open_run("runs/demo")
        >>> run.metrics().to_pandas().query("metric == 'onpolicy/entropy'")
    """
    from autophage.store.confined import require_confined

    run = RunDirectory(Path(directory)).require()
    require_confined(run)
    return Run(run)


class Run:
    """A run directory. `autophage.run` and `autophage.open_run` return one.

    Examples:
        >>> run = ap.open_run("runs/demo")
        >>> arm, last = run.arms[0], run.generations[-1]
        >>> run.corpus(arm, last).to_pandas()[["text", "entropy"]]
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        committed = len(self.generations)
        arms = f"{len(self.arms)} arm{'s' * (len(self.arms) != 1)}"
        return (
            f"<Run {self.path}: {self.recipe.name}, {arms}, {committed} of {self.recipe.generations + 1} generations>"
        )

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._directory.root

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the run, with every default filled in.

        Raises:
            RecipeError: `recipe.toml` is damaged.
        """
        from autophage.recipe import read_resolved

        return read_resolved(self._directory.recipe)

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of the sweep; controls that the sweep does not contain come last."""
        return [arm.name for arm in self._arms]

    @property
    def generations(self) -> list[int]:
        """Generations that every arm has committed, from 0."""
        return list(range(min(len(self._committed(arm)) for arm in self.arms)))

    def metrics(self) -> pa.Table:
        """Read every metric of every committed generation.

        Returns:
            A row per arm, generation and metric. Columns: `arm`, `generation`, `metric`, `value`, `low` and `high`
            (95% interval, null where there is none), `n` (number of items measured, null where it does not apply).

        Raises:
            StoreError: A generation's metrics differ from its manifest.

        Examples:
            >>> table = run.metrics().to_pandas()
            >>> table[table.metric == "fluency/ppl_human"].pivot(index="generation", columns="arm", values="value")
        """
        from autophage.store.metrics_table import collect

        return collect(self._directory, self.arms)

    def corpus(self, arm: str, generation: int) -> pa.Table:
        """Read the samples that model `generation` of an arm wrote.

        Args:
            arm: One of `arms`.
            generation: A committed generation; 0 is the corpus of the base model.

        Returns:
            A row per sample. `logprob`, `entropy` (nats), `varentropy` (nats^2), `max_prob` and `rank` are lists with one
            value per generated token, of the model's full distribution at temperature 1. `accepted`, `weight` and `gate`
            hold the verdict of the gates. A learner that is no language model has `sample_id`, `values` and `seed`.

        Raises:
            UserError: The run has no such arm, or has not committed the generation.
            StoreError: A file differs from the manifest.

        Examples:
            >>> run.corpus("alpha-1.0", 3).to_pandas().entropy.explode().mean()
        """
        from autophage.store.corpus import read_corpus
        from autophage.store.manifest import true_shards
        from autophage.store.numbers import is_numeric, read_table

        shards = true_shards(self._directory, self._manifest(arm, generation))
        return read_table(shards) if is_numeric(shards[0]) else read_corpus(shards)

    def verify(self) -> Verification:
        """Check every committed generation against its manifest: hashes, parents, counts, foreign files.

        Returns:
            The result. `faults` lists the faults, and `ok` is true if there are none.
        """
        from autophage.store.verify import verify_run

        return verify_run(self._directory, self.arms)

    def report(self) -> Path:
        """Write the report of the run, one HTML file that needs no network.

        Returns:
            Path of the file, `report.html` in the run directory.

        Raises:
            StoreError: A file differs from its manifest.
        """
        from autophage.report import write_report

        return write_report(self._directory)

    @cached_property
    def _arms(self) -> list[Arm]:
        from autophage.recipe import expand

        return expand(self.recipe)

    def _committed(self, arm: str) -> list[Manifest]:
        from autophage.store.manifest import committed

        return committed(self._directory, arm)

    def _manifest(self, arm: str, generation: int) -> Manifest:
        if arm not in self.arms:
            close = difflib.get_close_matches(arm, self.arms, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(f"{self.path}: has no arm {arm!r}.{meant} It has {', '.join(self.arms)}.")
        manifests = self._committed(arm)
        if not 0 <= generation < len(manifests):
            has = f"It has 0 to {len(manifests) - 1}" if manifests else "It has none yet"
            raise UserError(f"{self.path}: generation {generation} of arm {arm!r} is not committed. {has}.")
        return manifests[generation]
