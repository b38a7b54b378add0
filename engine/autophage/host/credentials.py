"""Tokens and passwords: told by their form, or by being the value of a variable that holds one, and kept out of what is written.

A recipe is copied into the run directory and into reports that are passed on, so one that holds a credential is refused;
messages, which may quote libraries, have them crossed out before they are recorded or printed.
"""

from __future__ import annotations

import os
import re

SECRET_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL)S?$", re.IGNORECASE)
"""Environment variables that are taken to hold a secret: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, RAY_AUTH_TOKEN, ..."""
SHORTEST = 8
"""Characters. A shorter value of such a variable ("1", "none") stands in texts by chance."""

FORMS = {
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "a GitHub token": re.compile(r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{40,}"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an address with a password in it": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@:]*:[^\s/@]+@"),
}


def credential_in(text: str) -> str | None:
    """What kind of credential `text` has in it, in words; None where there is none to be seen."""
    for kind, form in FORMS.items():
        if form.search(text):
            return kind
    return next((f"the value of {name}" for name, value in _secrets().items() if value in text), None)


def without_credentials(text: str) -> str:
    """`text` with what looks like a credential crossed out."""
    for name, value in _secrets().items():
        text = text.replace(value, f"[{name}]")
    for kind, form in FORMS.items():
        text = form.sub(f"[{kind}]", text)
    return text


def _secrets() -> dict[str, str]:
    """The secrets of this process's environment, by name; the longest first, as one may hold another."""
    found = {name: value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
