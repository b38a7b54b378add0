from __future__ import annotations

from typing import Any

import pytest

from autophage.errors import UserError
from autophage.host.versions import machine_facts, versions
from autophage.runs.directory import check_same

MODEL = {"digest": "a", "revision": None, "source": "b", "path": "models/one"}


def facts(**changes: Any) -> dict[str, Any]:
    return {"threads": 2, "packages": {"torch": "2"}, "model": {**MODEL, **changes}}


def test_the_same_model_and_source_go_on() -> None:
    assert check_same(facts(), facts(path="moved/one")) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [("digest", "the model changed"), ("revision", "the model changed"), ("source", "the source changed")],
)
def test_another_model_or_source_is_refused(name: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        check_same(facts(), facts(**{name: "other"}))


def test_another_machine_is_noted() -> None:
    notes = check_same(facts(), {**facts(), "threads": 8})
    assert len(notes) == 1
    assert "threads was 2 when this run started and is now 8" in notes[0]


def test_a_run_names_no_person_and_no_host() -> None:
    import getpass
    import socket

    told = str(machine_facts())
    assert socket.gethostname() not in told
    assert getpass.getuser() == "root" or getpass.getuser() not in told
    assert versions()["torch"]
