"""Settings that can decide the outcome of recursive training, for each arm, and the caption of every figure.

Each of them alone can decide whether a run shows collapse, so every figure names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autophage.recipe.schedule import alpha_words
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import BASE
from autophage.report.facts.load import ArmFacts
from autophage.report.learners.stories import learner_settings

CAPTIONED = (
    "learner", "chain", "pool", "samples a generation", "prompts", "decoding", "method", "learning rate", "anchor"
)  # fmt: skip
"""Names of the settings in a figure's caption. Without them a curve cannot be compared with another one."""
NO_ANCHOR = "none"
"""Value of the anchor setting for a recipe without an anchor. Captions omit it."""
MOST_COLUMNS = 5
"""Most arms that are columns of the settings table. More arms are rows, since their names would not fit the page."""


@dataclass(frozen=True)
class Setting:
    """One setting of the recipe, as a row of the settings table.

    `values` are in the order of the arms. `differs` is True unless all are equal.
    """

    name: str
    values: list[str]
    differs: bool

    @property
    def usual(self) -> str | None:
        """The value of more than half of the arms; None if no value is so frequent."""
        value, count = Counter(self.values).most_common(1)[0]
        return value if 2 * count > len(self.values) else None


def outcome_settings(arms: list[ArmFacts], seeds: Sequence[int] = ()) -> list[Setting]:
    """Return the settings that can decide the outcome of a run, with the value in each arm.

    Arms without a recipe are left out. `seeds` are the seeds of each pooled arm. Without any recipe the list is empty.
    """
    columns = [_of(arm.recipe) for arm in arms if arm.recipe is not None]
    if seeds:
        columns = [{**column, "seed": ", ".join(map(str, seeds))} for column in columns]
    if not columns:
        return []
    rows = [(name, [column[name] for column in columns]) for name in columns[0]]
    return [Setting(name, values, len(set(values)) > 1) for name, values in rows]


def caption(arms: list[ArmFacts]) -> str:
    """Return the caption of a run's figures, such as `chain cumulative · pool replace`.

    A setting that differs between arms lists all its values.
    """
    parts = []
    for setting in outcome_settings(arms):
        values = list(dict.fromkeys(setting.values))
        if setting.name in CAPTIONED and not (setting.name == "anchor" and values == [NO_ANCHOR]):
            parts.append(f"{setting.name} {' or '.join(values)}" + (" (by arm)" if setting.differs else ""))
    return " \u00b7 ".join(parts)


def _of(recipe: Recipe) -> dict[str, str]:
    if not recipe.trains_language_model:
        return learner_settings(recipe)
    sample, mix, train = recipe.sample, recipe.mix, recipe.train
    return {
        "synthetic fraction (alpha)": alpha_words(recipe),
        "chain": train.chain,
        "pool": mix.pool,
        "domain": mix.domain,
        "prompts": _prompts(recipe),
        "decoding": _decoding(recipe),
        "method": _method(recipe),
        "learning rate": f"{train.learning_rate:g}",
        "optimizer": f"AdamW, {train.optimizer}",
        "schedule": train.schedule if train.warmup == 0 else f"{train.schedule}, warmup {train.warmup:g}",
        "epochs": f"{train.epochs:g}" + (", the best kept" if train.keep == "best" else ""),
        "batch size": str(train.batch_size),
        "human text": _human_text(recipe),
        "loss on": train.loss_on,
        "anchor": _anchor(recipe),
        "samples per generation": f"{sample.count:,} of at most {recipe.max_tokens} tokens",
        "gates": _gates(recipe),
        "seed": str(recipe.seed),
    }


def _human_text(recipe: Recipe) -> str:
    mix = recipe.mix
    parts: list[str] = [mix.human]
    parts += [f"rare documents {mix.rare:g} times as often"] if mix.rare > 1 else []
    parts += [f"resampled from probability {mix.human_edit:g}"] if mix.human_edit is not None else []
    return ", ".join(parts)


def _anchor(recipe: Recipe) -> str:
    """Return the terms that the recipe adds to, or puts in place of, the cross-entropy loss of each token.

    Without such a term the text is `NO_ANCHOR`.
    """
    anchor = recipe.anchor
    parts = [f"{anchor.kl:g} times {anchor.direction} KL"] if anchor.kl > 0 else []
    if anchor.distills:
        done = {"clip": "clipped", "mask": "masked"}[anchor.outliers]
        parts.append("synthetic text distilled" + (f", {done} beyond {anchor.trust:g} nats" if anchor.trust else ""))
    parts += [f"reference {anchor.reference}"] if recipe.refers and anchor.reference != BASE else []
    parts += [f"cross-entropy truncated above {anchor.truncate:g}"] if anchor.truncate is not None else []
    return "; ".join(parts) or NO_ANCHOR


def _gates(recipe: Recipe) -> str:
    """Return the gates of a recipe in order, with settings that are not defaults.

    The number of documents to choose from stands at the end. Without a gate the text is `none`.
    """
    if not recipe.gate:
        return "none"
    told = []
    for gate in recipe.gate:
        settings = ", ".join(f"{name} {value}" for name, value in gate.model_dump(exclude_defaults=True).items())
        told.append(f"{gate.kind} ({settings})" if settings else gate.kind)
    return f"{', then '.join(told)}; chosen from {recipe.sample.written:,} documents, if too few: {recipe.mix.short}"


def _method(recipe: Recipe) -> str:
    model = recipe.model
    if model.method == "full":
        return "all weights"
    return f"LoRA rank {model.rank}" + (f", alpha {model.lora_alpha:g}" if model.lora_alpha is not None else "")


def _prompts(recipe: Recipe) -> str:
    if recipe.has_maker:
        return f"by the maker {recipe.maker.kind}, {recipe.sample.prompt_set}"
    prompts: str = recipe.sample.prompts
    if prompts == "auto" and recipe.source.kind == "world":
        prompts = "bos"
    return prompts if prompts == "bos" else f"{prompts}, {recipe.sample.prompt_set}"


def _decoding(recipe: Recipe) -> str:
    sample = recipe.sample
    penalty = [f"repetition penalty {sample.repetition_penalty:g}"] if sample.repetition_penalty > 1 else []
    if sample.beams > 1:
        return ", ".join([f"{sample.beams} beams", *penalty])
    if sample.temperature == 0:
        return ", ".join(["greedy", *penalty])
    parts = [f"temperature {sample.temperature:g}"]
    parts += [f"top-p {sample.top_p:g}"] if sample.top_p < 1 else []
    parts += [f"top-k {sample.top_k}"] if sample.top_k else []
    return ", ".join([*parts, *(["whole distribution"] if len(parts) == 1 else []), *penalty])
