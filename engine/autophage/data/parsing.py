"""The option that a written answer names.

If a letter is requested, the first capital A, B, C or D that stands alone counts. It may be wrapped, as in `B`,
`(B)`, `B.`, `Answer: B` or `The answer is B`. An A before a lower-case word is an article, unless that word is "is".

If the text of an option is requested, case and runs of blanks do not count. The longest option that begins the answer
wins. Otherwise the answer must contain exactly one option as whole words. An option within a longer option that is
also present does not count.

Any other answer names no option. An answer that names two options has not chosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LETTER = re.compile(r"(?<![\w'\u2019.])(?:(A)(?! +(?!is\b)[a-z])|([B-D]))(?![\w'\u2019])")


def named_letter(text: str) -> int | None:
    """Return the option that an answer `text` names by its letter: 0 for A to 3 for D. None without a letter."""
    found = LETTER.search(text)
    return None if found is None else "ABCD".index(found[1] or found[2])


def named_option(text: str, options: Sequence[str]) -> int | None:
    """Return the index in `options` of the one that an answer `text` states in words.

    None if no option or more than one fits.
    """
    return named_of(text, list(enumerate(options)))


def named_of(text: str, names: Sequence[tuple[int, str]]) -> int | None:
    """Return the number of the thing that an answer `text` states by one of its names.

    `names` are pairs of a number and a name. A thing may have several names. None if nothing or more than one thing fits.
    """
    answer = _plain(text)
    known = [(number, plain) for number, name in names if (plain := _plain(name)) in answer]
    first = [one for one in known if re.match(rf"{re.escape(one[1])}(?!\w)", answer)]
    longest = {number for number, name in first if len(name) == max(len(other) for _, other in first)}
    if longest:
        return longest.pop() if len(longest) == 1 else None
    there = [one for one in known if re.search(rf"(?<!\w){re.escape(one[1])}(?!\w)", answer)]
    whole = {number for number, name in there if not any(name in other for _, other in there if other != name)}
    return whole.pop() if len(whole) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
