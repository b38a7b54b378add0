"""Which option a written answer names, by a few rules that can be read at a glance.

Where a letter is asked for: the first capital A, B, C or D that stands alone, in whatever it is wrapped: `B`, `(B)`, `B.`,
`Answer: B`, `The answer is B`. An A before a word in small letters is an article, unless the word is "is".

Where the text of an option is asked for, case and runs of blanks aside: the longest option that the answer begins with;
else the one option that it contains, as whole words. An option that is part of a longer one that is there does not count.

Anything else names none: what names two options has not chosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LETTER = re.compile(r"(?<![\w'\u2019.])(?:(A)(?! +(?!is\b)[a-z])|([B-D]))(?![\w'\u2019])")


def named_letter(text: str) -> int | None:
    """The place of the letter that `text` names; None where it names none."""
    found = LETTER.search(text)
    return None if found is None else "ABCD".index(found[1] or found[2])


def named_option(text: str, options: Sequence[str]) -> int | None:
    """The place of the option that `text` names by its own text; None where it names none, or more than one."""
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
