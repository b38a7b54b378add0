from __future__ import annotations

from collections import Counter

import pytest

from autophage.data.source import Role
from autophage.data.tokens import word_tokenizer
from autophage.data.world import ATTRIBUTES, World, text_of
from autophage.data.world_source import WorldSource
from autophage.errors import UserError


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=60, zipf=0.8, seed=0, held_out=50)


@pytest.fixture(scope="module")
def source(world: World) -> WorldSource:
    return WorldSource(world, word_tokenizer(world.vocabulary))


def test_a_world_is_its_seed(world: World) -> None:
    again, other = World(60, 0.8, 0, 50), World(60, 0.8, 1, 50)
    assert [again.document(3, i) for i in range(20)] == [world.document(3, i) for i in range(20)]
    assert [other.document(3, i) for i in range(20)] != [world.document(3, i) for i in range(20)]


def test_no_word_means_two_things(world: World) -> None:
    names = {word for person in world.people for word in person.name}
    kinds = [names, *map(set, world.values.values())]
    assert sum(map(len, kinds)) == len(set().union(*kinds))
    assert len({person.name for person in world.people}) == 60


def test_exposure_falls_with_rank(world: World) -> None:
    counts = Counter(next(word for word, role in world.document(1, i) if role is Role.SUBJECT) for i in range(3000))
    by_person = Counter(
        tuple(word for word, role in world.document(1, i) if role is Role.SUBJECT)[:2] for i in range(3000)
    )
    first, last = world.people[0].name, world.people[-1].name
    assert sum(counts.values()) == 3000
    assert by_person[first] > 5 * by_person[last]


def test_documents_state_the_facts(world: World) -> None:
    facts = {person.name: set(person.facts.values()) for person in world.people}
    for index in range(200):
        words = world.document(2, index)
        person: tuple[str, ...] = ()
        for word, role in words:
            if role is Role.SUBJECT:
                person = (*person[-1:], word)
            if role is Role.FACT:
                owners = [name for name in facts if word in facts[name]]
                assert owners, f"{word} is nobody's"


def test_held_out_documents_never_come_out_of_a_draw(world: World) -> None:
    held_out = {text_of(words) for words in world.held_out}
    assert len(held_out) == 50
    assert not any(text_of(world.document(9, index)) in held_out for index in range(5000))


def test_a_world_too_small_for_its_held_out_part_says_so() -> None:
    with pytest.raises(UserError, match="held_out_documents"):
        World(people=1, zipf=4.0, seed=0, held_out=2_000)


def test_every_probe_asks_for_the_fact(world: World, source: WorldSource) -> None:
    probes = source.probes(["question-answer", "cloze", "few-shot"], None)
    assert len(probes) == 3 * len(ATTRIBUTES) * 60
    assert {probe.bucket for probe in probes} == {"head", "torso", "tail"}
    by_rank = {person.rank: person for person in world.people}
    for probe in probes:
        rank, attribute = probe.fact.split("/")
        answer = by_rank[int(rank)].facts[attribute]
        assert source.tokenizer.decode(probe.answer_ids) == answer
        prompt = str(source.tokenizer.decode(probe.prompt_ids))
        assert prompt.rstrip().endswith(("Answer :", "in", "a", "by", "on")), prompt
        assert " ".join(by_rank[int(rank)].name) in prompt
        assert probe.answer_ids[0] in probe.valid_first


def test_fewer_probes_keep_every_bucket(source: WorldSource) -> None:
    buckets = Counter(probe.bucket for probe in source.probes(["cloze"], 20))
    assert buckets == {"head": 8, "torso": 32, "tail": 40}


def test_held_out_tokens_carry_their_roles(world: World, source: WorldSource) -> None:
    for document, words in zip(source.held_out(), world.held_out, strict=True):
        assert len(document.token_ids) == len(document.roles)
        assert list(document.roles[1:-1]) == [role for _, role in words]
        assert document.token_ids[0] == source.tokenizer.bos_token_id
        assert document.token_ids[-1] == source.tokenizer.eos_token_id


def test_documents_round_trip_through_the_tokenizer(world: World, source: WorldSource) -> None:
    item = source.items(4, 1)[0]
    assert source.tokenizer.decode(item.continuation_ids, skip_special_tokens=True) == text_of(world.document(4, 0))
    assert source.tokenizer.unk_token_id not in item.continuation_ids


def test_few_shot_prompts_never_hold_the_answer(source: WorldSource) -> None:
    for probe in source.probes(["few-shot"], None):
        assert probe.answer_ids[0] not in probe.prompt_ids


def test_the_reference_is_other_documents_of_the_same_world(world: World, source: WorldSource) -> None:
    documents = source.reference(50)
    assert source.reference(20) == documents[:20]
    held_out = [source.encode(words)[0] for words in world.held_out]
    assert not any(document in held_out for document in documents)
    special = set(source.tokenizer.all_special_ids)
    assert not any(special & set(document) for document in documents)


def test_a_domain_is_about_one_attribute(world: World) -> None:
    for index in range(100):
        facts = {word for word, role in world.document(4, index, "city") if role is Role.FACT}
        assert facts <= set(world.values["city"])
    assert world.document(4, 0, "city") == world.document(4, 0, "city") != world.document(4, 1, "city")


def test_blocks_are_the_first_statements_of_documents(world: World) -> None:
    tokenizer = word_tokenizer(world.vocabulary)
    whole, blocks = WorldSource(world, tokenizer), WorldSource(world, tokenizer, "blocks", "job")
    assert all(prompt == whole.start_ids for prompt in whole.prompts(1, 5))
    items = blocks.items(1, 20)
    assert blocks.prompts(1, 20) == [item.prompt_ids for item in items]
    for index, item in enumerate(items):
        ids, roles = blocks.encode(world.document(1, index, "job"))
        assert item.prompt_ids + item.continuation_ids == [*blocks.start_ids, *ids, tokenizer.eos_token_id]
        prompted = roles[: len(item.prompt_ids) - 1]
        assert prompted.count(Role.FACT) == 1
        assert tokenizer.decode(item.prompt_ids[-1]) == "."
