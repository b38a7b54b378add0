"""The card of an export: a README.md for people and for hubs.

The Hugging Face hub reads the front matter. The body states the settings that decide the outcome of recursive
training. It also has the counts, the base model, and the chain of manifests back to generation 0. The card asserts no
licence. The licence of generated text follows from the model and the training texts, and a run states neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from autophage.recipe.schedule import alpha_words
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.settings import outcome_settings
from autophage.store.manifest import Manifest

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""The hub's size categories. Each has an exclusive upper bound of the number of rows, and a name."""

WARNING = (
    "**Machine-generated text: do not train on it unknowingly.** A model wrote every row. A model that is trained on "
    "such text, generation after generation, loses rare knowledge first and becomes confident in wrong answers. This "
    "text was made to study that."
)


def card(facts: RunFacts, arm: ArmFacts, generation: int, what: str) -> str:
    """Return the README of an exported generation, as Markdown with YAML front matter.

    Args:
        what: `"adapter"`, `"corpus"` or `"model"`.
    """
    manifest = arm.manifests[generation]
    kind, path = _base(facts)
    small = manifest.weights.get("method") == "small"
    hub_id = path if kind == "hub" else None
    model_tags = _front_matter(["library_name: autophage"], ()) if small else _model_tags(what, hub_id)
    sections = [
        _dataset_tags(manifest) if what == "corpus" else model_tags,
        f"# {facts.recipe.name}, arm {arm.name}, generation {generation}: {what}",
        _summary(facts, arm, generation, what),
        "## Settings that decide the outcome",
        _table(("setting", "value"), ((row.name, row.values[0]) for row in outcome_settings([arm]))),
        "## Counts",
        _table(("in the corpus of this model", "number"), ((n, f"{c:,}") for n, c in manifest.counts.items())),
        "## Learner" if small else "## Base model",
        _base_facts(facts),
        "## Lineage",
        f"Each manifest contains its parent's hash: the last one fixes the whole chain. Resume level: {manifest.level}.",
        _table(("generation", "sha256 of its manifest", "sha256 of its weights"), _chain(arm, generation)),
        "## Made with",
        _table(("software", "version"), sorted(manifest.versions.items())),
        "## Licence",
        "Unknown. It follows from the base model and its training texts; the run does not state it.",
    ]
    return "\n\n".join(sections) + "\n"


def _model_tags(what: str, hub_id: str | None) -> str:
    library = "peft" if what == "adapter" else "transformers"
    lines = [f"library_name: {library}", "pipeline_tag: text-generation"]
    if hub_id is not None:
        relation = "adapter" if what == "adapter" else "finetune"
        lines += [f"base_model: {json.dumps(hub_id)}", f"base_model_relation: {relation}"]
    return _front_matter(lines, ("lora",) if what == "adapter" else ())


def _dataset_tags(manifest: Manifest) -> str:
    rows = manifest.counts.get("samples", 0)
    size = next((name for bound, name in SIZES if rows < bound), "n>10M")
    text = not _numeric(manifest)
    lines = [
        f"pretty_name: machine-generated {'text' if text else 'samples'} of an Autophage run",
        *(["task_categories:\n- text-generation"] if text else []),
        f"size_categories:\n- {size}",
        "configs:\n- config_name: default\n  data_files: corpus.parquet",
    ]
    return _front_matter(lines, ("machine-generated", "do-not-train-on-it-unknowingly"))


def _front_matter(lines: list[str], tags: tuple[str, ...]) -> str:
    listed = "\n".join(f"- {tag}" for tag in (*tags, "synthetic", "model-collapse", "autophage"))
    return "\n".join(["---", "license: unknown", *lines, f"tags:\n{listed}", "---"])


def _summary(facts: RunFacts, arm: ArmFacts, generation: int, what: str) -> str:
    role = ", the control on human text" if arm.control else ""
    model = f"model {generation} of arm `{arm.name}`{role}, in the Autophage run `{facts.recipe.name}`"
    small = arm.manifests[generation].weights.get("method") == "small"
    diet = "samples" if small else "text"
    if generation == 0:
        origin = "Model 0 was fitted to human data." if small else "Model 0 is the untouched base model."
    elif arm.control:
        human = "data" if small else "text"
        origin = (
            f"It was trained for {_times(generation)} on human {human} only, with the same steps as the other arms."
        )
    else:
        share = alpha_words(arm.recipe) if arm.recipe is not None else "unknown"
        origin = f"It was trained for {_times(generation)} on {diet}; earlier generations wrote a share of {share}."
    if what == "corpus":
        if _numeric(arm.manifests[generation]):
            return f"Machine-made samples, drawn by {model}. {origin}"
        return f"{WARNING}\n\nThe corpus that {model}, wrote. {origin}"
    if small:
        return f"Parameters of {model}, as safetensors; learner.json describes them. {origin}"
    thing = "The LoRA adapter that makes the base model" if what == "adapter" else _whole(arm.manifests[generation])
    return f"{thing} {model}. {origin} It was made to study the effects of such training."


def _numeric(manifest: Manifest) -> bool:
    """Return True if the corpus holds numbers instead of texts."""
    return "values" in manifest.counts


def _whole(manifest: Manifest) -> str:
    return "Every weight of" if manifest.weights.get("method") == "full" else "Base model and adapter in one:"


def _times(generation: int) -> str:
    return "one generation" if generation == 1 else f"{generation} generations"


def _base(facts: RunFacts) -> tuple[str, str | None]:
    model = facts.environment.get("model", {})
    return str(model.get("kind", "unknown")), model.get("path")


def _base_facts(facts: RunFacts) -> str:
    model = facts.environment.get("model", {})
    rows = [(key, str(model[key])) for key in ("kind", "path", "parameters", "digest") if model.get(key) is not None]
    return _table(("fact", "value"), rows) if rows else "The run did not record its base model."


def _chain(arm: ArmFacts, generation: int) -> list[tuple[str, str, str]]:
    return [
        (str(number), arm.hashes[number], _digest(manifest))
        for number, manifest in enumerate(arm.manifests[: generation + 1])
    ]


def _digest(manifest: Manifest) -> str:
    return str(manifest.weights.get("digest", "not stated"))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return `text` on one line for a table. Special characters of Markdown and HTML are escaped."""
    plain = re.sub(r"\s+", " ", text)
    return re.sub(r"([|`*_<>\[\]\\])", r"\\\1", plain) if plain != "---" else plain
