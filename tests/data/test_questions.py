"""Questions: reading, wording to the character, tokens, and errors with their place."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from autophage.data.build import RawSource
from autophage.data.mmlu import COLUMNS, read_mmlu
from autophage.data.posing import Posed, bind_questions, in_chat, questions_digest, read_questions
from autophage.data.questions import PROMPTS
from autophage.data.text_source import Text
from autophage.data.tokens import byte_pair_tokenizer, word_tokenizer
from autophage.data.world import ATTRIBUTES, World
from autophage.data.world_source import WorldSource
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.questions import QuestionsTable
from autophage.recipe.tables.source import SourceTable

GOLDEN = Path(__file__).parent / "golden"
MMLU = os.environ.get("AUTOPHAGE_TEST_MMLU", "")
"""A folder with ten subjects of MMLU as CSV, if one is available."""
FORMATS = ["multiple-choice", "few-shot", "short-answer", "no-instruction"]

TEST = [
    (' What is the "Second Gem", in Buddhism?', "The Dharma", "The Sangha", " The Buddha ", "The Bodhisattva", 0),
    ("Second?", "a", "b", "c", "d", 3),
]
DEV = [
    (" What is the sign of the covenant?", "The rainbow", "Circumcision", "A son", "Bar mitzvah", 1),
    ("When was the law given?\nTwo dates are told.", "Early", "Late", "Never", "Twice", 0),
    ("Who came first?", "Honen", "Tanaka", "Meiji", " Tokugawa", 3),
    ("Fourth?", "w", "x", "y", "z", 2),
]

Written = tuple[str | int, ...]
Write = Callable[..., Path]


def write_csv(path: Path, rows: Sequence[Written], columns: tuple[str, ...] = COLUMNS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_csv(tmp_path / "test/World_Religions_test.csv", TEST)
    write_csv(tmp_path / "dev/World_Religions_dev.csv", DEV)
    write_csv(tmp_path / "test/marketing_test.csv", [("Sell?", "1", "2", "3", "4", 2)] * 3)
    write_csv(tmp_path / "dev/marketing_dev.csv", DEV)
    return tmp_path


def table(path: Path, **changes: object) -> QuestionsTable:
    return QuestionsTable.model_validate({"kind": "mmlu", "path": str(path), **changes})


# Prompts, to the character


@pytest.mark.parametrize("form", FORMATS)
def test_prompts_are_those_of_the_paper(folder: Path, form: str) -> None:
    question = read_mmlu(table(folder))[0]
    assert PROMPTS[form](question) == (GOLDEN / f"{form}.txt").read_text("utf-8")


def test_every_format_asks_every_question(folder: Path) -> None:
    prompts = read_questions(recipe(path=str(folder)), RawSource(Text("", "")))
    assert [prompt.format for prompt in prompts] == [form for form in FORMATS for _ in range(5)]
    assert [prompt.letters for prompt in prompts] == [form != "short-answer" for form in FORMATS for _ in range(5)]
    names = ["World_Religions/0", "World_Religions/1", "marketing/0", "marketing/1", "marketing/2"]
    assert [prompt.question.id for prompt in prompts] == 4 * names
    other = read_questions(recipe(path=str(folder), shots=2), RawSource(Text("", "")))
    assert questions_digest(prompts) == questions_digest(list(prompts)) != questions_digest(other)
    assert questions_digest([]) is None


# Reading


def test_the_first_ones_of_the_subjects_that_are_named(folder: Path) -> None:
    questions = read_mmlu(table(folder, subjects=["marketing"], count=2, formats=["few-shot"], shots=2))
    assert [(one.id, one.subject, one.answer) for one in questions] == [
        ("marketing/0", "marketing", 2),
        ("marketing/1", "marketing", 2),
    ]
    assert [shot.text for shot in questions[0].shots] == [DEV[0][0], DEV[1][0]]
    assert read_mmlu(table(folder, formats=["no-instruction"]))[0].shots == ()


def test_a_flat_folder(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in [*folder.glob("test/*.csv"), *folder.glob("dev/*.csv")]:
        (flat / path.name).write_bytes(path.read_bytes())
    assert read_mmlu(table(flat)) == read_mmlu(table(folder))


def test_suffixes_and_letters_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/marketing_test.CSV").write_text("Sell?,1,2,3,4,c\n", "utf-8")
    (question,) = read_mmlu(table(tmp_path, formats=["no-instruction"]))
    assert (question.subject, question.answer) == ("marketing", 2)


def test_a_first_question_with_a_wrong_answer_is_no_line_of_columns(tmp_path: Path) -> None:
    (tmp_path / "marketing_test.csv").write_text("Sell?,1,2,3,4,E\n", "utf-8")
    with pytest.raises(UserError, match=r"marketing_test.csv, line 1: the answer is 'E'"):
        read_mmlu(table(tmp_path, formats=["no-instruction"]))


def test_a_dataset_with_a_configuration_for_each_subject(tmp_path: Path) -> None:
    import json

    def rows(written: Sequence[Written]) -> str:
        return "".join(
            json.dumps({"question": row[0], "choices": row[1:5], "answer": row[5]}) + "\n" for row in written
        )

    for name in ("world_religions", "all"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text(rows(TEST), "utf-8")
        (tmp_path / name / "dev.jsonl").write_text(rows(DEV), "utf-8")
    configurations = "".join(
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {name}/{split}.jsonl\n" for split in ("test", "dev"))
        for name in ("world_religions", "all")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configurations}---\n", "utf-8")
    questions = read_mmlu(table(tmp_path))
    assert [one.id for one in questions] == ["world_religions/0", "world_religions/1"]
    assert PROMPTS["few-shot"](questions[0]) == (GOLDEN / "few-shot.txt").read_text("utf-8")


def test_mmlu_itself() -> None:
    folder = Path(MMLU)
    if not MMLU or not folder.is_dir():
        pytest.skip("AUTOPHAGE_TEST_MMLU names no folder with MMLU's CSV files")
    questions = read_mmlu(table(folder))
    assert len(questions) == 10 * 100
    assert len({one.id for one in questions}) == len(questions)
    religions = [one for one in questions if one.subject == "world_religions"]
    assert sum(one.answer == 0 for one in religions) == 40  # what answering A always is worth


def spoilt(folder: Path, rows: list[Written], columns: tuple[str, ...] = COLUMNS) -> str:
    write_csv(folder / "test/marketing_test.csv", rows, columns)
    with pytest.raises(UserError) as caught:
        read_mmlu(table(folder))
    return str(caught.value)


def test_a_missing_column_is_told_with_those_that_are_there(folder: Path) -> None:
    columns = ("question", "choice0", "choice1", "choice2", "answer")
    assert spoilt(folder, [("Sell?", "1", "2", "3", 0)], columns) == (
        f"{folder}/test/marketing_test.csv: has no column choice3. "
        "Its columns are: question, choice0, choice1, choice2, answer."
    )


@pytest.mark.parametrize("answer", [4, -1, "E", ""])
def test_an_answer_that_is_no_place_is_told_with_its_line(folder: Path, answer: str | int) -> None:
    rows: list[Written] = [("Two\nlines?", "1", "2", "3", "4", 0), ("Sell?", "1", "2", "3", "4", answer)]
    expected = f"{folder}/test/marketing_test.csv, line 4: the answer is '{answer}'. It must be"
    assert spoilt(folder, rows).startswith(expected)


def test_rows_and_files_that_cannot_be_used(folder: Path) -> None:
    assert "marketing_test.csv: holds no question" in spoilt(folder, [])
    assert "line 2: option 2 is empty" in spoilt(folder, [("Sell?", "1", "2", " ", "4", 0)])
    assert "line 2: has 2 fields instead of 6" in spoilt(folder, [("Sell?", "1")])
    (folder / "test/marketing_test.csv").write_bytes(b"")
    with pytest.raises(UserError, match=r"marketing_test\.csv: is empty"):
        read_mmlu(table(folder))
    (folder / "test/marketing_test.csv").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_mmlu(table(folder))


def test_files_of_the_paper_without_header_and_with_letters(folder: Path) -> None:
    path = folder / "test/marketing_test.csv"
    path.write_text(' Sell?,1,2,3,4,C\n" In ""two""\nlines?",a,b,c,d,A\n', "utf-8")
    (folder / "test/._marketing_test.csv").write_bytes(b"\x00\x05\xa3")
    [first, second] = [one for one in read_mmlu(table(folder)) if one.subject == "marketing"]
    assert (first.text, first.options, first.answer) == (" Sell?", ("1", "2", "3", "4"), 2)
    assert (second.text, second.answer) == (' In "two"\nlines?', 0)


def test_a_dataset_with_numbers_and_gaps_as_options(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: maths\n  data_files:\n  - split: test\n    path: test.jsonl\n---\n"
    (tmp_path / "README.md").write_text(card, "utf-8")
    row = '{"question": "2+2?", "choices": [1, 2, 3, 4], "answer": 3}'
    (tmp_path / "test.jsonl").write_text(row, "utf-8")
    [question] = read_mmlu(table(tmp_path, formats=["no-instruction"]))
    assert (question.options, question.answer) == (("1", "2", "3", "4"), 3)
    (tmp_path / "test.jsonl").write_text(row.replace("[1, 2, 3, 4]", '["a", null, "c", "d"]'), "utf-8")
    with pytest.raises(UserError, match="row 0: option 1 is None instead of a text"):
        read_mmlu(table(tmp_path, formats=["no-instruction"]))


def test_a_subject_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_mmlu(table(folder, subjects=["marketting"]))
    assert str(caught.value) == (
        "questions.subjects: there is no subject 'marketting'; did you mean 'marketing'? "
        "There are: World_Religions, marketing."
    )


def test_too_few_answered_questions(folder: Path) -> None:
    with pytest.raises(UserError, match=r"questions.shots = 5: .*World_Religions_dev\.csv has 4 answered questions"):
        read_mmlu(table(folder, shots=5))
    (folder / "dev/marketing_dev.csv").unlink()
    with pytest.raises(UserError, match=r"dev/marketing_dev\.csv has 0 answered questions"):
        read_mmlu(table(folder))
    assert len(read_mmlu(table(folder, formats=["no-instruction"]))) == 5


def test_a_path_without_questions(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is neither a folder with files like test/SUBJECT_test\.csv nor a loadable dataset"
    ):
        read_mmlu(table(tmp_path / "nothing"))


# Tokens

CORPUS = [(GOLDEN / f"{form}.txt").read_text("utf-8") for form in FORMATS]


def recipe(**changes: object) -> Recipe:
    return Recipe(name="t", questions=QuestionsTable.model_validate({"kind": "mmlu", "path": "x", **changes}))


def posed(folder: Path, tokenizer: object, **changes: object) -> list[Posed]:
    raw, wanted = RawSource(Text("", "")), recipe(path=str(folder), **changes)
    return bind_questions(read_questions(wanted, raw), raw, tokenizer, wanted)  # type: ignore[arg-type]


def test_a_plain_prompt_is_its_text_and_a_letter_follows_a_blank(folder: Path) -> None:
    tokenizer = byte_pair_tokenizer(CORPUS, 600)
    for one in posed(folder, tokenizer):
        assert one.prompt_ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(one.prompt_ids[1:]) == one.prompt.text
        question = one.prompt.question
        wanted = (
            [f" {letter}" for letter in "ABCD"] if one.prompt.letters else [f" {o.strip()}" for o in question.options]
        )
        assert [tokenizer.decode(ids) for ids in one.option_ids] == wanted


def test_a_letter_may_be_several_tokens(folder: Path) -> None:
    tokenizer = byte_pair_tokenizer(["zz"], 300)  # bytes alone: a blank and a letter are two
    letters = posed(folder, tokenizer, formats=["no-instruction"])[0]
    assert [len(ids) for ids in letters.option_ids] == [2, 2, 2, 2]
    assert [tokenizer.decode(ids) for ids in letters.option_ids] == [" A", " B", " C", " D"]


TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_in_a_chat_the_prompt_is_one_user_turn_and_a_letter_its_answers_start(folder: Path) -> None:
    tokenizer = byte_pair_tokenizer(CORPUS, 600)
    tokenizer.chat_template = TEMPLATE
    for one in posed(folder, tokenizer):
        assert tokenizer.decode(one.prompt_ids) == f"<user>{one.prompt.text}<assistant>"
        wanted = list("ABCD") if one.prompt.letters else [option.strip() for option in one.prompt.question.options]
        assert [tokenizer.decode(ids) for ids in one.option_ids] == wanted
    assert posed(folder, tokenizer, chat=False)[0].prompt_ids[0] == tokenizer.bos_token_id


def test_a_tokenizer_that_puts_a_blank_before_a_text_of_its_own(folder: Path) -> None:
    """Like SentencePiece, a letter encoded alone gets a blank that it lacks after other text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "<unk>", "▁Answer", ":", *(f"▁{letter}" for letter in "ABCD"), *"ABCD", ">", "▁"]
    entries = {piece: number for number, piece in enumerate(pieces)}
    core = Tokenizer(models.BPE(vocab=entries, merges=[("▁", letter) for letter in "ABCD"], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    plain = posed(folder, tokenizer, formats=["no-instruction"])[0]
    assert list(plain.option_ids) == [[entries[f"▁{letter}"]] for letter in "ABCD"]
    tokenizer.chat_template = TEMPLATE
    chat = posed(folder, tokenizer, formats=["no-instruction"])[0]
    assert list(chat.option_ids) == [[entries[letter]] for letter in "ABCD"]


def test_a_chat_template_that_is_asked_for_and_not_there() -> None:
    tokenizer = byte_pair_tokenizer(CORPUS, 300)
    assert in_chat(recipe(), tokenizer) is False
    assert in_chat(recipe(chat=False), tokenizer) is False
    with pytest.raises(UserError, match=r"questions.chat = true: the model .* has no chat template"):
        in_chat(recipe(chat=True), tokenizer)
    tokenizer.chat_template = TEMPLATE
    assert in_chat(recipe(), tokenizer) is True


# Worlds


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=60, zipf=0.8, seed=0, held_out=50, choices=0.2)


def world_recipe(**changes: object) -> Recipe:
    return Recipe(
        name="t",
        source=SourceTable(people=60, held_out_documents=50, choices=0.2),
        questions=QuestionsTable.model_validate({"kind": "world", **changes}),
    )


def test_a_world_asks_in_its_own_words(world: World) -> None:
    raw, wanted = RawSource(world), world_recipe(count=7)
    tokenizer = word_tokenizer(world.vocabulary)
    prompts = read_questions(wanted, raw)
    assert len(prompts) == 4 * 3 * 7
    facts = {f"{person.rank}/{name}": person.facts[name] for person in world.people for name in ATTRIBUTES}
    names = {person.rank: " ".join(person.name) for person in world.people}
    for one in bind_questions(prompts, raw, tokenizer, wanted):
        question, text = one.prompt.question, one.prompt.text
        right = facts[question.id]
        assert question.options[question.answer] == right
        assert len(set(question.options)) == 4
        attribute = question.id.split("/")[1]
        assert set(question.options) <= set(world.values[attribute])
        assert tokenizer.unk_token_id not in one.prompt_ids
        assert tokenizer.decode(one.prompt_ids, skip_special_tokens=True) == text
        assert [tokenizer.decode(ids) for ids in one.option_ids] == list(question.options)
        assert names[int(question.id.split("/")[0])] in text
        shown = one.prompt.format == "multiple-choice"
        assert set(one.prompt.valid) == set(question.options if shown else world.values[attribute])
        assert {tokenizer.decode([token]) for token in one.valid_first} == set(one.prompt.valid)
        listed = f"Options : {' / '.join(question.options)} Answer :"
        if shown:
            assert text.endswith(f"{question.text} {listed}")
        else:
            assert not set(question.options) & set(text.split())
        if one.prompt.format in ("short-answer", "few-shot"):
            assert text.endswith(f"Question : {question.text} Answer :")
        assert text.count("Question") == {"few-shot": 4, "no-instruction": 0}.get(one.prompt.format, 1)


def test_the_right_option_may_stand_anywhere_and_every_attribute_is_asked_for(world: World) -> None:
    prompts = read_questions(world_recipe(formats=["no-instruction"], count=48), RawSource(world))
    assert {one.question.answer for one in prompts} == {0, 1, 2, 3}
    for subject, people in (("head", 6), ("torso", 24), ("tail", 30)):
        asked = [one.question.id.split("/") for one in prompts if one.question.subject == subject]
        assert len(asked) == min(48, 4 * people)
        assert {attribute for _, attribute in asked} == set(ATTRIBUTES)


def test_what_a_world_cannot_ask(world: World) -> None:
    with pytest.raises(UserError, match="there is no subject 'heads'; did you mean 'head'"):
        read_questions(world_recipe(subjects=["heads"]), RawSource(world))
    small = World(people=10, zipf=0.8, seed=0, held_out=5)
    with pytest.raises(UserError, match=r"questions.shots = 9: only \d of 10 people have a"):
        read_questions(world_recipe(formats=["few-shot"], shots=9), RawSource(small))


def test_a_world_without_choices_is_what_it_was() -> None:
    """Documents, words and digest without multiple-choice documents do not change."""
    plain = World(60, 0.8, 0, 50)
    assert RawSource(plain).digest == RawSource(World(60, 0.8, 0, 50, choices=0.0)).digest
    assert RawSource(plain).digest == "4ccd2c76cbecf7e4b789ae3293261d817319d110598dcfbe6587f6fe6af47450"
    assert not {"Options", "/"} & set(plain.vocabulary)


def test_documents_with_options_have_their_share_and_tell_no_fact_by_an_option(world: World) -> None:
    source = WorldSource(world, word_tokenizer(world.vocabulary))
    texts = [str(source.tokenizer.decode(source.items(index, 1)[0].continuation_ids)) for index in range(1000)]
    with_options = [text for text in texts if "Options" in text]
    assert 160 < len(with_options) < 240
    for text in with_options:
        asked = re.findall(r"Options : (\w+) / (\w+) / (\w+) / (\w+) Answer : (\w+) \.", text)
        assert len(asked) == 2
        assert all(answer in options and len(set(options)) == 4 for *options, answer in asked)
    facts = {value for values in world.values.values() for value in values}
    for document in source.held_out():
        words = [source.tokenizer.decode([token]) for token in document.token_ids]
        told = [word for word, role in zip(words, document.roles, strict=True) if role.name == "FACT"]
        options = [
            word for word, role in zip(words, document.roles, strict=True) if role.name == "SUBJECT" and word in facts
        ]
        assert len(options) == 4 * words.count("Options")
        assert len(told) >= 2
