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
    answer = _plain(text)
    known = [_plain(option) for option in options]
    first = [place for place, option in enumerate(known) if re.match(rf"{re.escape(option)}(?!\w)", answer)]
    longest = [place for place in first if len(known[place]) == max(len(known[one]) for one in first)]
    if longest:
        return longest[0] if len(longest) == 1 else None
    there = [place for place, option in enumerate(known) if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", answer)]
    whole = [
        place for place in there if not any(known[place] in known[one] for one in there if known[one] != known[place])
    ]
    return whole[0] if len(whole) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
