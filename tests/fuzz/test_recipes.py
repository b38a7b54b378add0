"""Any bytes, recipe mutation or --set gives a recipe, or one message for its author."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import strategies as st
from tests.fuzz.timebox import fuzz

from autophage.cli import main
from autophage.recipe.keys import KEYS
from autophage.recipe.paths import shipped_recipes

pytestmark = pytest.mark.thorough

SHIPPED = [path.read_text("utf-8") for path in shipped_recipes().values()]
WORDS = [
    *KEYS,
    "sweep",
    "[sample]",
    "[[train]]",
    "=",
    "\n",
    '"',
    "'",
    "'''",
    "{",
    "}",
    "[",
    "]",
    "#",
    "\x00",
    "\ud7ff",
    ".",
]
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "[]", "{}", '""', "inf", "nan", "1979-05-27T07:32:00Z", "0x" + "f" * 5000, "1e999999", "[" * 3000]
    ),
    st.text(max_size=30).map(lambda text: '"' + text.replace("\\", "").replace('"', "") + '"'),
    st.lists(st.integers(-5, 5), max_size=4).map(str),
)
LINES = st.tuples(st.sampled_from([*KEYS, "a.b.c", 'sweep."mix.alpha"', "profiles.x.seed"]), VALUES).map(" = ".join)
MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 10_000), st.integers(0, 200), st.one_of(st.sampled_from(WORDS), st.text(max_size=8), LINES)
    ),
    max_size=6,
)


def mutated(drawn: tuple[str, list[tuple[int, int, str]]]) -> bytes:
    text, changes = drawn
    for place, length, new in changes:
        at = place % (len(text) + 1)
        text = text[:at] + new + text[at + length :]
    return text.encode("utf-8", "surrogatepass")


FILES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(LINES, max_size=12).map(
        lambda lines: ('name = "x"\n' + "\n".join(lines)).encode("utf-8", "surrogatepass")
    ),
    st.tuples(st.sampled_from(SHIPPED), MUTATIONS).map(mutated),
)
SETTINGS = st.one_of(LINES.map(lambda line: line.replace(" = ", "=")), st.text(max_size=60))


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Return the exit code of a command. Only success and the user's error with a message are allowed."""
    code = main(arguments)
    errors = capsys.readouterr().err
    assert code in (0, 2), errors
    assert "Traceback" not in errors
    assert "fault of autophage" not in errors
    if code == 2:
        assert len(errors.strip()) > len("error: ")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", errors), repr(errors)
    return code


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.toml"
    codes: set[int] = set()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        codes.add(told(["show", str(path), "--resolved"], capsys))

    fuzz(FILES, check, share=0.5)
    assert codes == {0, 2}, "nothing was valid, or nothing was refused"


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    def check(given: list[str]) -> int:
        return told(["plan", "smoke", *(f"--set={one}" for one in given)], capsys)

    fuzz(st.lists(SETTINGS, max_size=3), check, share=0.4)


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz(st.text(max_size=300), lambda name: told(["show", f"./{name}"], capsys), share=0.1)
