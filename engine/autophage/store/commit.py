"""Commit a generation, manifest last, and read committed generations back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from autophage.errors import StoreError
from autophage.store import manifest as manifests
from autophage.store.answers import Answer, write_answers
from autophage.store.atomic import sha256, write_bytes
from autophage.store.canary import CanaryRecord
from autophage.store.corpus import Sample, read_samples, write_corpus
from autophage.store.judged import count_judged
from autophage.store.manifest import MANIFEST, OPTIMIZER, Manifest, Metric, true_file, true_shards
from autophage.store.metrics_table import add_to_metrics_table
from autophage.store.numbers import Numbers, write_numbers
from autophage.store.rundir import RunDirectory
from autophage.store.training import StepStatistics, step_metrics, write_training
from autophage.store.weights import Weights, load_weights


@dataclass(frozen=True)
class Generation:
    """Results of generation g of an arm: model g, corpus g, and the metrics of both.

    `served_as` is the name of the weights in the sampler, and `canary` the record of its check. Both are None for a
    learner without a sampler.
    """

    arm: str
    generation: int
    weights: Weights
    served_as: str | None
    samples: list[Sample] | Numbers
    metrics: list[Metric]
    canary: CanaryRecord | None
    seed: int
    steps: list[StepStatistics] = field(default_factory=list)
    """Statistics of the training that made the model; empty at generation 0."""
    optimizer: bytes | None = None
    """AdamW's moments after training, as safetensors bytes; None unless the next generation continues with them."""
    answers: list[Answer] = field(default_factory=list)
    """Answers to the recipe's questions; empty without questions."""


def commit_generation(
    run: RunDirectory, made: Generation, *, level: str, versions: dict[str, str], arms: list[str] | None
) -> None:
    """Commit a generation atomically, with the hash of its parent. Then add its metrics to the table.

    Args:
        level: Resume level that the manifest states.
        versions: Versions of the packages, by name.
        arms: All arms of the table, in order. None leaves the table alone. A caller with thousands of short generations
            rewrites it from time to time.
    """
    folder = run.generation(made.arm, made.generation)
    manifests.clear_uncommitted(folder)
    counts = _write_samples(folder, made.samples)
    made.weights.save(folder)
    if made.optimizer is not None:
        write_bytes(folder / OPTIMIZER, made.optimizer)
    metrics = [*made.metrics, *step_metrics(made.steps)]
    manifests.write_metrics(folder, metrics)
    if made.answers:
        write_answers(folder, made.answers)
    if made.generation and made.weights.method != "small":
        write_training(folder, made.steps)
    served = {} if made.served_as is None else {"served_as": made.served_as}
    manifests.write_manifest(
        folder,
        Manifest(
            arm=made.arm,
            generation=made.generation,
            parent=_parent(run, made),
            files=manifests.describe_files(folder),
            counts=counts,
            seeds={"run": made.seed},
            weights={
                "method": made.weights.method,
                "digest": made.weights.digest,
                **served,
                **({} if made.canary is None else made.canary.entries()),
            },
            versions=versions,
            level=level,
        ),
    )
    if arms is not None:
        add_to_metrics_table(run, arms, made.arm, made.generation, metrics)


def _write_samples(folder: Path, samples: list[Sample] | Numbers) -> dict[str, int]:
    """Write the corpus of a generation, and return the counts for its manifest by name."""
    if isinstance(samples, Numbers):
        write_numbers(folder, samples)
        return {"samples": len(samples), "accepted": len(samples), "values": int(samples.values.size)}
    write_corpus(folder, samples)
    counts = count_judged((sample.accepted, sample.gate) for sample in samples)
    return {**counts, "tokens": sum(len(sample.token_ids) for sample in samples)}


def committed_weights(run: RunDirectory, arm: str, generation: int) -> Weights:
    """Read the weights of model `generation` of an arm, after comparing them with the manifest.

    Raises:
        StoreError: The generation is not committed, or its weights differ from the manifest.
    """
    manifest = _require_manifest(run, arm, generation)
    folder = run.generation(arm, generation)
    weights = load_weights(folder)
    if weights.digest != manifest.weights.get("digest"):
        raise StoreError(f"{folder}: its weights differ from the manifest's")
    for name in manifest.files:  # the digest covers the tensors; these are their configs
        if "/" in name and name.endswith(".json"):
            true_file(run, manifest, name)
    return weights


def committed_optimizer(run: RunDirectory, arm: str, generation: int) -> bytes | None:
    """Read AdamW's state after the training of model `generation`, as safetensors bytes.

    None if the state was not kept.
    """
    manifest = _require_manifest(run, arm, generation)
    return true_file(run, manifest, OPTIMIZER).read_bytes() if OPTIMIZER in manifest.files else None


def committed_samples(run: RunDirectory, arm: str, generation: int) -> list[Sample]:
    """Read the samples that model `generation` of an arm wrote.

    Raises:
        StoreError: The generation is not committed, or a shard differs from the manifest.
    """
    return read_samples(true_shards(run, _require_manifest(run, arm, generation)))


def _require_manifest(run: RunDirectory, arm: str, generation: int) -> Manifest:
    folder = run.generation(arm, generation)
    manifest = manifests.read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder}: is not committed (no {MANIFEST})")
    return manifest


def _parent(run: RunDirectory, made: Generation) -> str | None:
    return sha256(run.generation(made.arm, made.generation - 1) / MANIFEST) if made.generation else None
