"""Conflicts between model, training, sampling and devices. Each check returns a conflict or None."""

from __future__ import annotations

from autophage.recipe.checks.conflict import Conflict
from autophage.recipe.keys import KEYS
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.table import AUTO
from autophage.recipe.tables.train import VALIDATED

HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Attention head sizes that vLLM's CPU backend serves."""


def head_size_not_served(recipe: Recipe) -> Conflict | None:
    base = recipe.base
    if recipe.model.path != FROM_SOURCE or (
        base.hidden_size % base.heads == 0 and base.hidden_size // base.heads in HEAD_SIZES
    ):
        return None
    if base.hidden_size % base.heads:
        wrong = f"base.hidden_size = {base.hidden_size} is not a multiple of base.heads = {base.heads}"
    else:
        size = base.hidden_size // base.heads
        wrong = f"base.hidden_size = {base.hidden_size} by base.heads = {base.heads} gives a head size of {size}"
    served = ", ".join(map(str, HEAD_SIZES))
    remedies = [f"hidden_size / heads must be a head size that vLLM serves: {served}"]
    fitting = [base.hidden_size // size for size in reversed(HEAD_SIZES) if base.hidden_size % size == 0]
    fitting = [heads for heads in fitting if heads <= 64]
    widths = [base.heads * size for size in HEAD_SIZES if base.heads * size <= 4096]
    if fitting:
        remedies.append(f"with hidden_size = {base.hidden_size}, heads may be {', '.join(map(str, fitting))}")
    if widths:
        remedies.append(f"with heads = {base.heads}, hidden_size may be {', '.join(map(str, widths))}")
    return Conflict(("base.heads", "base.hidden_size", "model.path"), wrong, tuple(remedies))


def fewer_cells_than_share_a_gpu(recipe: Recipe) -> Conflict | None:
    cells, sharing = recipe.cluster.cells, recipe.cluster.sharing
    if cells == AUTO or sharing <= cells:
        return None
    wrong = (
        f"cluster.cells_per_gpu = {sharing} divides a GPU by {sharing}, but the run has {cells} cell{'s' * (cells > 1)}"
    )
    return Conflict(
        ("cluster.cells_per_gpu", "cluster.cells"),
        wrong,
        (f'set cluster.cells to {sharing} or more, or to "auto"', f"or set cluster.cells_per_gpu to {cells}"),
    )


def carried_optimizer_without_chain(recipe: Recipe) -> Conflict | None:
    train = recipe.train
    if train.optimizer != "carried" or train.chain == "cumulative":
        return None
    chain = toml_value(train.chain)
    wrong = f'train.optimizer = "carried" needs a cumulative chain, but train.chain = {chain}'
    remedies = ('write chain = "cumulative", or optimizer = "fresh"', str(KEYS["train.optimizer"]))
    return Conflict(("train.optimizer", "train.chain"), wrong, remedies)


def full_training_on_several_gpus(recipe: Recipe) -> Conflict | None:
    if recipe.model.method != "full" or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f'model.method = "full" trains on one GPU, but cluster.trainer_gpus = {recipe.cluster.trainer_gpus}'
    remedies = ("leave cluster.trainer_gpus at 1", 'or train adapters: model.method = "lora"')
    return Conflict(("cluster.trainer_gpus", "model.method"), wrong, remedies)


def reference_on_several_gpus(recipe: Recipe) -> Conflict | None:
    gpus = recipe.cluster.trainer_gpus
    if gpus == 1 or not (recipe.refers or recipe.mix.human_edit is not None):
        return None
    what, key, remedy = (
        ("anchor.reference needs", "anchor.kl", 'kl = 0 and objective = "sft" under [anchor]')
        if recipe.refers
        else ("mix.human_edit needs", "mix.human_edit", "no human_edit")
    )
    wrong = f"{what} a trainer on one GPU, but cluster.trainer_gpus = {gpus}"
    remedies = ("leave cluster.trainer_gpus at 1", f"or write {remedy}")
    return Conflict(("cluster.trainer_gpus", key), wrong, remedies)


def compiled_on_several_gpus(recipe: Recipe) -> Conflict | None:
    if not recipe.train.compile or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f"train.compile compiles layers on one GPU, but cluster.trainer_gpus = {recipe.cluster.trainer_gpus}"
    return Conflict(("train.compile", "cluster.trainer_gpus"), wrong, ("leave one of them out",))


def harness_on_several_gpus(recipe: Recipe) -> Conflict | None:
    if not recipe.measure.harness or recipe.cluster.trainer_gpus == 1:
        return None
    wrong = f"measure.harness runs on one GPU, but cluster.trainer_gpus = {recipe.cluster.trainer_gpus}"
    return Conflict(("measure.harness", "cluster.trainer_gpus"), wrong, ("leave one of them out",))


def beams_on_several_gpus(recipe: Recipe) -> Conflict | None:
    if recipe.sample.beams == 1 or recipe.cluster.sampler_gpus == 1:
        return None
    beams, gpus = recipe.sample.beams, recipe.cluster.sampler_gpus
    wrong = f"sample.beams = {beams}: beam search runs on one GPU, but cluster.sampler_gpus = {gpus}"
    remedies = ("leave cluster.sampler_gpus at 1", "or sample: sample.beams = 1")
    return Conflict(("cluster.sampler_gpus", "sample.beams"), wrong, remedies)


def best_epoch_not_kept(recipe: Recipe) -> Conflict | None:
    train, gpus = recipe.train, recipe.cluster.trainer_gpus
    if train.keep == "last" or (gpus == 1 and train.optimizer == "fresh"):
        return None
    if gpus > 1:
        wrong = f'train.keep = "best" needs a trainer on one GPU, but cluster.trainer_gpus = {gpus}'
        return Conflict(("train.keep", "cluster.trainer_gpus"), wrong, ('write keep = "last", or trainer_gpus = 1',))
    wrong = 'train.optimizer = "carried" continues from the last epoch, but train.keep = "best" may keep an earlier one'
    return Conflict(("train.keep", "train.optimizer"), wrong, ('write keep = "last", or optimizer = "fresh"',))


def no_document_to_validate_on(recipe: Recipe) -> Conflict | None:
    """Return a conflict if `train.keep = "best"` has no held-out document to judge epochs by, else None.

    Only a world is checked. The windows of a text are counted once its tokenizer is known.
    """
    source, measured = recipe.source, recipe.measure.documents
    if recipe.train.keep == "last" or source.kind != "world" or source.held_out_documents > measured:
        return None
    wrong = (
        'train.keep = "best" needs held-out documents that are not measured, but all '
        f"{source.held_out_documents} are measured (measure.documents = {measured})"
    )
    remedies = (f"write source.held_out_documents = {measured + VALIDATED}", "or lower measure.documents")
    return Conflict(("train.keep", "source.held_out_documents", "measure.documents"), wrong, remedies)
