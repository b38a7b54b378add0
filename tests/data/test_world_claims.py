"""Statements are read out of documents with any spacing, and checked against the facts."""

from __future__ import annotations

import pytest

from autophage.data.world import World, text_of
from autophage.data.world_claims import ClaimReader


@pytest.fixture(scope="module")
def world() -> World:
    return World(people=40, zipf=0.8, seed=0, held_out=10, choices=0.3)


def test_every_statement_of_every_document_is_read_and_right(world: World) -> None:
    reader = ClaimReader(world)
    for index in range(500):
        text = text_of(world.document(1, index))
        claims = reader.claims(text)
        assert len(claims) == text.count(" .")
        assert all(claim.right for claim in claims)


def test_marks_may_touch_words(world: World) -> None:
    reader = ClaimReader(world)
    for index in range(200):
        text = text_of(world.document(2, index))
        close = text.replace(" .", ".").replace(" :", ":").replace(" ?", "?")
        told = [(one.subject, one.attribute, one.value) for one in reader.claims(close)]
        assert told == [(one.subject, one.attribute, one.value) for one in reader.claims(text)]


def test_what_is_not_so_is_wrong(world: World) -> None:
    reader, (one, other) = ClaimReader(world), world.people[:2]
    name, job = " ".join(one.name), other.facts["job"]
    assert job != one.facts["job"]
    text = (
        f"{name} works as a {job} . {name} was born in {one.facts['city']} . Nobody Here works as a {job} . {name} was"
    )
    claims = reader.claims(text)
    assert [(claim.attribute, claim.right) for claim in claims] == [("job", False), ("city", True), ("job", False)]
    assert claims[0].text == f"{name} works as a {job} ."
    assert reader.claims("born born in") == reader.claims("") == []
