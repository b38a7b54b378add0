"""The table of fault cases names every case once, with tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "crash" / "FAULTS.md").read_text("utf-8")
CASES = 58


def test_every_case_has_one_row() -> None:
    found = [int(number) for number in re.findall(r"^\| F(\d+) \|", TABLE, re.MULTILINE)]
    assert found == list(range(1, CASES + 1))


def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`((?:[a-z_]+/)*test_[a-z_]+\.py)(?:::(\w+))?", TABLE)
    assert len(named) > CASES
    for file, function in named:
        path = TESTS / file
        assert path.is_file(), f"{file}: there is no such file of tests"
        if function:
            assert f"def {function}(" in path.read_text("utf-8"), f"{file}: has no {function}"
