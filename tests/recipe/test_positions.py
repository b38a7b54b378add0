from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autophage.recipe.syntax.literals import toml_key, toml_value
from autophage.recipe.syntax.positions import KeyPath, locate

HARD = '''\
# [not.a.table] = 1
title = "a # no comment, [no] = 'table'"  # a comment with "quotes" = 3
"quoted key" . 'x.y' = 1
escaped."\\u0061lpha\\"" = 2

[ table . "sub.table" ]
text = """
not = "a key"
[nor.a.table]
\\""" still inside """""
literal = \'\'\'it's # here
"""\'\'\'
list = [ # comment ]
  1, "],#", # two
  [ 2.5, { a = [1], "b.c" = "}" } ],
  1979-05-27 07:32:00 , true
]
inline = { x . y = 1, z = [ ] }

[[many]]
n = 1
[many.inner]
m = 2
[[many]]
n = 3
[[many.deep]]
d = 4
[many.inner]
m = 5
'''


def leaves(value: Any, path: KeyPath = ()) -> dict[KeyPath, Any]:
    """Every key, list and item of a parsed document."""
    found = {path: value} if path else {}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        found |= leaves(item, (*path, name))
    return found


def rest(text: str, position: tuple[int, int]) -> str:
    """The text from a position to the end of its line."""
    return text.split("\n")[position[0] - 1][position[1] - 1 :]


def test_every_key_of_a_hard_document_is_found_and_nothing_else() -> None:
    assert set(locate(HARD)) == set(leaves(tomllib.loads(HARD)))


def test_positions_in_a_hard_document() -> None:
    marks = locate(HARD)
    expected = {
        ("title",): ("title = ", '"a # no'),
        ("quoted key", "x.y"): ("'x.y' = 1", "1"),
        ("escaped", 'alpha"'): ('"\\u0061', "2"),
        ("table",): ("table . ", "table . "),
        ("table", "sub.table"): ('"sub.table" ]', '"sub.table" ]'),
        ("table", "sub.table", "text"): ("text = ", '"""'),
        ("table", "sub.table", "literal"): ("literal = ", "'''it's"),
        ("table", "sub.table", "list"): ("list = ", "[ # comment"),
        ("table", "sub.table", "list", 1): ('"],#", # two', '"],#", # two'),
        ("table", "sub.table", "list", 2, 1, "b.c"): ('"b.c" = ', '"}" } ]'),
        ("table", "sub.table", "list", 4): ("true", "true"),
        ("table", "sub.table", "inline", "x", "y"): ("y = 1", "1, z"),
        ("many", 0, "inner", "m"): ("m = 2", "2"),
        ("many", 1, "deep", 0, "d"): ("d = 4", "4"),
        ("many", 1, "inner", "m"): ("m = 5", "5"),
    }
    for path, (key, value) in expected.items():
        assert rest(HARD, marks[path].key).startswith(key), path
        assert rest(HARD, marks[path].value).startswith(value), path


SCALARS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.floats(), st.booleans())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\"'é #=[]", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # about the machine: a busy one draws slowly
@given(st.dictionaries(st.text("abc.-_ \"'=#[]\n", max_size=5), VALUES, max_size=5))
def test_any_document_is_followed_to_its_end(document: dict[str, Any]) -> None:
    lines = [f"  {toml_key([name])}  =  {toml_value(value)} # {toml_key([name])}" for name, value in document.items()]
    text = "\n".join(lines)
    marks = locate(text)
    assert set(marks) == set(leaves(document))
    for number, (name, value) in enumerate(document.items(), 1):
        assert marks[(name,)].key == (number, 3)
        assert rest(text, marks[(name,)].value).startswith(toml_value(value))


@given(st.text("ab.=\"'[]{}#,\n\\ 1", max_size=40))
def test_whatever_the_parser_accepts_the_scanner_follows(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(locate(text)) == set(leaves(document))
