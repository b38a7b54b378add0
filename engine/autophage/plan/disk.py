"""Is there room on disk for what a generation will leave: its shards with their per-token statistics, and its weights?

Asked before each stage, because a disk that fills up at the commit has cost the sampling and the training before it. What is
needed is a bound from the recipe, or what the arm's last generation took where that is more. Estimates nothing in seconds.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autophage.errors import UserError
from autophage.plan.shape import shape_of
from autophage.plan.speeds import CORPUS_BYTES_PER_TOKEN
from autophage.plan.tokens import longest_tokens
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.store.manifest import Manifest, read_manifest
from autophage.store.rundir import RunDirectory

TEXT_BYTES_PER_TOKEN = 4 + 8
"""Of prompt and sample: the int32 id in its column, and the text that it stands for."""
ROW_BYTES = 256
"""Of a sample: its id, seed and what else has one value."""
RESERVE = 32 << 20
"""For what a run writes beside its generations: history, logs, table of metrics, report."""
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Need:
    """Bytes of one generation."""

    corpus: int
    """Shards, before they are compressed; most of it is per-token statistics."""
    weights: int
    """And the optimizer's state, where it is kept."""

    @property
    def total(self) -> int:
        return self.corpus + self.weights


def require_room(run: RunDirectory, arms: Sequence[Arm], generation: int, stage: str) -> None:
    """See that the disk takes generation `generation` of these arms, which a stage is about to work on.

    Raises:
        UserError: with the bytes that are needed and those that are free.
    """
    needs = [need(run, arm, generation) for arm in arms]
    corpus, weights = sum(one.corpus for one in needs), sum(one.weights for one in needs)
    free, wanted = shutil.disk_usage(run.root).free, corpus + weights + RESERVE
    if free < wanted:
        raise UserError(
            f"{run.root}: the disk has {free:,} bytes free, and generation {generation} of {', '.join(arm.name for arm in arms)} "
            f"needs up to {wanted:,} ({corpus:,} for samples with their per-token statistics, {weights:,} for weights, "
            f"{RESERVE:,} in reserve). Stopped before stage {stage}; make room and give the same command, or sample "
            "less (sample.count)."
        )


def need(run: RunDirectory, arm: Arm, generation: int) -> Need:
    """What `generation` of an arm may take, at most."""
    bound = Need(_corpus_bytes(arm.recipe), _weights_bytes(arm.recipe))
    last = read_manifest(run.generation(arm.name, generation - 1)) if generation else None
    if last is None:
        return bound
    weights = _listed(last, "adapter/", "model/", "optimizer.")
    return Need(max(bound.corpus, _listed(last, "corpus-")), max(bound.weights, weights))


@contextmanager
def told_when_full(place: Path) -> Iterator[None]:
    """A write that found the disk or the quota full is the user's to mend; nothing half written counts."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        standing = next(path for path in (place, *place.absolute().parents) if path.exists())
        raise UserError(
            f"{place}: {error.strerror}; {shutil.disk_usage(standing).free:,} bytes are free. What was committed stays; make "
            "room and give the same command."
        ) from error


def _corpus_bytes(recipe: Recipe) -> int:
    sample = recipe.max_tokens * CORPUS_BYTES_PER_TOKEN + longest_tokens(recipe) * TEXT_BYTES_PER_TOKEN
    return recipe.sample.written * (round(sample) + ROW_BYTES)


def _weights_bytes(recipe: Recipe) -> int:
    """In float32; 0 for a model whose shape is not known before its first generation is written."""
    shape = shape_of(recipe)
    if shape is None:
        return 0
    trained = shape.parameters if recipe.model.method == "full" else shape.adapter_per_rank * recipe.model.rank
    return 4 * trained * (3 if recipe.train.optimizer == "carried" else 1)


def _listed(manifest: Manifest, *starts: str) -> int:
    return sum(int(facts["bytes"]) for name, facts in manifest.files.items() if name.startswith(starts))
