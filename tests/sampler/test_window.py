"""The window of requests in the engine: order, room, and the state after memory ran out."""

from __future__ import annotations

import pytest

from autophage.errors import RunError
from autophage.sampler.batch import Asked, Batch
from autophage.sampler.protocol import Served
from autophage.sampler.window import Place, Window


def places(count: int, batch: Batch | None = None) -> list[Place]:
    batch = batch or Batch([0] * count, lambda *_: None)
    return [Place(batch, index, Asked(Served("a", 1, "d"), [1], index)) for index in range(count)]


def let_in(window: Window) -> list[int]:
    entered: list[int] = []
    while (place := window.next()) is not None:
        window.open[f"{len(window.open)}-{place.number}-{len(entered)}"] = place
        entered.append(place.number)
    return entered


def test_twice_as_many_enter_as_are_computed_and_in_order() -> None:
    window = Window(4)
    for place in places(10):
        window.add(place)
    assert let_in(window) == list(range(8))
    window.open.pop(next(iter(window.open)))
    assert let_in(window) == [8]
    window.open.clear()
    assert let_in(window) == [9]
    assert window.note == ""


def test_half_of_what_was_computed_enters_again_from_the_first() -> None:
    window = Window(8)
    for place in places(20):
        window.add(place)
    let_in(window)
    ids = window.shrink()
    assert len(ids) == 16
    assert window.open == {}
    assert let_in(window) == [0, 1, 2, 3]
    assert "written 4 at a time" in window.note
    window.open.pop(next(iter(window.open)))
    assert let_in(window) == [4]
    window.shrink()
    assert let_in(window) == [1, 2], "those that were under way first, in their order"


def test_a_batch_that_only_waits_is_not_finished() -> None:
    window = Window(8)
    first, second = (Batch([0] * 2, lambda *_: None) for _ in range(2))
    for place in [*places(2, first), *places(2, second)]:
        window.add(place)
    let_in(window)
    window.shrink()
    let_in(window)
    assert window.unfinished() == [first, second]
    window.open.clear()
    assert window.unfinished() == [second]


def test_one_document_that_does_not_fit_is_the_end() -> None:
    window = Window(8)
    window.add(places(1)[0])
    let_in(window)
    with pytest.raises(RunError, match="with one document at a time"):
        window.shrink()
