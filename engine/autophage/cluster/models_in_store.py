"""The models of a cell in Ray's object store: one copy of each, by reference.

A trained model enters the store as a result of its training. The driver owns the reference, so the object outlives the
trainer's process. A committed model without a reference, as after a resume, is read from its files and put once. At most one
committed model of each arm stays: the next generation starts from it and is compared with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autophage.cluster.partial import PartialGeneration, ended
from autophage.cluster.scheduler import Work
from autophage.store.commit import committed_optimizer, committed_weights
from autophage.store.rundir import RunDirectory
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from ray import ObjectRef


class ModelsInStore:
    """References to the committed models that a cell still needs."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._weights: dict[str, tuple[int, ObjectRef[Weights]]] = {}
        self._optimizers: dict[str, tuple[int, ObjectRef[bytes | None]]] = {}

    def keep(self, work: Work, partial: PartialGeneration) -> None:
        """Keep the references of a generation that is being committed, in place of the generation before."""
        self._weights[work.arm] = work.generation, ended(partial.weights)
        self._optimizers.pop(work.arm, None)
        if partial.optimizer is not None:
            self._optimizers[work.arm] = work.generation, partial.optimizer

    def weights(self, arm: str, generation: int) -> ObjectRef[Weights]:
        """Return the reference to the weights of a committed generation.

        Raises:
            StoreError: They are not in the store, and their files differ from the manifest.
        """
        import ray

        kept, reference = self._weights.get(arm, (None, None))
        if reference is None or kept != generation:
            reference = ray.put(committed_weights(self._run, arm, generation))
            if kept is None or kept < generation:
                self._weights[arm] = generation, reference
        return reference

    def optimizer(self, arm: str, generation: int) -> ObjectRef[bytes | None]:
        """Return the reference to the optimizer state of a committed generation.

        Raises:
            StoreError: It is not in the store, and its file differs from the manifest.
        """
        import ray

        kept, reference = self._optimizers.get(arm, (None, None))
        if reference is None or kept != generation:
            reference = ray.put(committed_optimizer(self._run, arm, generation))
        return reference


def copy_here(partial: PartialGeneration, seconds: float) -> None:
    """Copy a trained model into the store of the driver's machine. Ray recovers it from there if the trainer's is lost.

    Nothing happens on one machine. A copy that is late, after `seconds`, is made by the commit.
    """
    import ray

    references = [reference for reference in (partial.weights, partial.optimizer) if reference is not None]
    ray.wait(references, num_returns=len(references), timeout=seconds, fetch_local=True)
