"""Four-way questions about the facts of a world, in the words of its documents.

    no-instruction    the unfinished statement:         Mira Sol was born in
    short-answer      the question:                     Question : Where was Mira Sol born ? Answer :
    few-shot          answered questions of other people before it
    multiple-choice   the options after the question:   ... born ? Options : a / b / c / d Answer :

The text of an option is the answer in every format. The three other options are values of the same attribute, drawn
by the world's seed. The subject of a question is the person's bucket: head, torso or tail. No option is an answer
within a few-shot prompt. This module knows words only, and `posing` tokenizes them.
"""

from __future__ import annotations

from autophage.data.questions import Prompt, Question, require_subjects
from autophage.data.source import spread
from autophage.data.world import ATTRIBUTES, QUESTIONS, STATEMENTS, Person, Word, World, text_of
from autophage.data.world_source import examples, until_fact
from autophage.errors import UserError
from autophage.recipe.tables.questions import QuestionsTable
from autophage.seeds import generator

SUBJECTS = ("head", "torso", "tail")


def world_prompts(world: World, table: QuestionsTable) -> list[Prompt]:
    """Return four-way questions about the facts of `world`, in each format of the `[questions]` table.

    A subject is a frequency class of people. Each subject gets at most `table.count` questions, spread over its
    people.

    Raises:
        UserError: A subject does not exist, or the world has too few people for the shots.
    """
    wanted = list(SUBJECTS) if table.subjects is None else table.subjects
    require_subjects(wanted, SUBJECTS)
    prompts = []
    for form in table.formats:
        for subject in wanted:
            people = [person for person in world.people if world.bucket(person) == subject]
            facts = [(person, attribute) for attribute in ATTRIBUTES for person in people]
            for person, attribute in spread(facts, table.count):
                prompts.append(_prompt(world, person, attribute, form, table.shots))
    return prompts


def _prompt(world: World, person: Person, attribute: str, form: str, shots: int) -> Prompt:
    options = world.options(person, attribute, generator(world.seed, "options", person.rank, attribute))
    words = _words(world, person, attribute, form, options, shots)
    asked = text_of(until_fact(world.statement(person, attribute, QUESTIONS[attribute])))
    first, second, third, fourth = options
    question = Question(
        id=f"{person.rank}/{attribute}",
        subject=world.bucket(person),
        text=asked.removeprefix("Question : ").removesuffix(" Answer :"),
        options=(first, second, third, fourth),
        answer=options.index(person.facts[attribute]),
    )
    valid = options if form == "multiple-choice" else world.values[attribute]
    return Prompt(question, form, text_of(words), letters=False, valid=tuple(valid))


def _words(world: World, person: Person, attribute: str, form: str, options: list[str], shots: int) -> list[Word]:
    """Return a question in the format `form` as words with roles, up to the open answer.

    Raises:
        UserError: Fewer than `shots` people have an answer outside `options`.
    """
    if form == "no-instruction":
        return until_fact(world.statement(person, attribute, STATEMENTS[attribute][0]))
    if form == "multiple-choice":
        return until_fact(world.choice(person, attribute, options))
    question = until_fact(world.statement(person, attribute, QUESTIONS[attribute]))
    if form == "short-answer":
        return question
    shown = examples(world, person, attribute, shots, avoid=options)
    if len(shown) < shots:
        raise UserError(
            f"questions.shots = {shots}: only {len(shown)} of {len(world.people)} people have a {attribute} outside a "
            "question's options. Lower questions.shots, or raise source.people."
        )
    return [word for other in shown for word in world.statement(other, attribute, QUESTIONS[attribute])] + question
