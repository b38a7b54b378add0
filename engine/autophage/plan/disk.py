"""Check that the disk has room for a generation: its shards with per-token statistics, and its weights.

The check precedes each stage. A disk that fills up at the commit would waste the sampling and the training before it.
The bytes needed are a bound from the recipe, or the bytes of the arm's last generation if these are more.
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
"""Bytes per token of prompt or sample: 4 for its int32 id, 8 for its text."""
ROW_BYTES = 256
"""Bytes of the columns that hold one value per sample, such as id and seed."""
RESERVE = 32 << 20
"""Bytes kept free for files beside the generations: history, logs, table of metrics, report."""
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Need:
    """Bytes of disk that one generation of an arm needs."""

    corpus: int
    """Bytes of the corpus shards before compression. Most of them are per-token statistics."""
    weights: int
    """Bytes of the trained weights, and of the optimizer's state if it is kept."""

    @property
    def total(self) -> int:
        return self.corpus + self.weights


def require_room(run: RunDirectory, arms: Sequence[Arm], generation: int, stage: str) -> None:
    """Check that the disk of a run has room for one generation of all these arms.

    Args:
        stage: Stage that is about to begin, for the message.

    Raises:
        UserError: There is no room. The message names the bytes needed and the bytes free.
    """
    needs = [need(run, arm, generation) for arm in arms]
    corpus, weights = sum(one.corpus for one in needs), sum(one.weights for one in needs)
    free, wanted = shutil.disk_usage(run.root).free, corpus + weights + RESERVE
    if free < wanted:
        raise UserError(
            f"{run.root}: the disk has {free:,} bytes free, and generation {generation} of {', '.join(arm.name for arm in arms)} "
            f"needs up to {wanted:,} ({corpus:,} for samples with their per-token statistics, {weights:,} for weights, "
            f"{RESERVE:,} in reserve). Stopped before stage {stage}. Make room and repeat the command, or sample "
            "less (sample.count)."
        )


def need(run: RunDirectory, arm: Arm, generation: int) -> Need:
    """Return the largest number of bytes that `generation` of an arm may take on disk.

    The bound follows from the recipe. If the arm's previous generation took more, its bytes count.
    """
    bound = Need(_corpus_bytes(arm.recipe), _weights_bytes(arm.recipe))
    last = read_manifest(run.generation(arm.name, generation - 1)) if generation else None
    if last is None:
        return bound
    weights = _listed(last, "adapter/", "model/", "optimizer.")
    return Need(max(bound.corpus, _listed(last, "corpus-")), max(bound.weights, weights))


@contextmanager
def full_disk_as_user_error(place: Path) -> Iterator[None]:
    """Turn the `OSError` of a full disk or quota into a `UserError` that names the free bytes.

    Other errors pass unchanged.

    Args:
        place: Folder that is being written. It may not exist yet.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        standing = next(path for path in (place, *place.absolute().parents) if path.exists())
        raise UserError(
            f"{place}: {error.strerror}; {shutil.disk_usage(standing).free:,} bytes are free. Committed generations stay. Make "
            "room and repeat the command."
        ) from error


def _corpus_bytes(recipe: Recipe) -> int:
    sample = recipe.max_tokens * CORPUS_BYTES_PER_TOKEN + longest_tokens(recipe) * TEXT_BYTES_PER_TOKEN
    return recipe.sample.written * (round(sample) + ROW_BYTES)


def _weights_bytes(recipe: Recipe) -> int:
    """Return the bytes of a generation's trained weights in float32. A carried optimizer's state counts too.

    The result is 0 if the model's shape is unknown.
    """
    shape = shape_of(recipe)
    if shape is None:
        return 0
    trained = shape.parameters if recipe.model.method == "full" else shape.adapter_per_rank * recipe.model.rank
    return 4 * trained * (3 if recipe.train.optimizer == "carried" else 1)


def _listed(manifest: Manifest, *starts: str) -> int:
    return sum(int(facts["bytes"]) for name, facts in manifest.files.items() if name.startswith(starts))
