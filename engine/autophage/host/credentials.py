"""Credentials in text: tokens and passwords, known by their form or as the value of an environment variable.

A recipe that holds a credential is refused, because it is copied into the run directory and into reports. Messages may quote
libraries, so their credentials are replaced before they are recorded or printed.
"""

from __future__ import annotations

import os
import re

SECRET_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL)S?$", re.IGNORECASE)
"""Environment variables that hold a secret: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, RAY_AUTH_TOKEN, ..."""
SHORTEST = 8
"""Minimum characters of a secret. A shorter value ("1", "none") occurs in texts by chance."""

FORMS = {
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "a GitHub token": re.compile(r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{40,}"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a URL with a password": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@:]*:[^\s/@]+@"),
}


def credential_in(text: str) -> str | None:
    """Name the kind of the first credential in `text`, such as "an API key"; None if there is none."""
    for kind, form in FORMS.items():
        if form.search(text):
            return kind
    return next((f"the value of {name}" for name, value in _secrets().items() if value in text), None)


def without_credentials(text: str) -> str:
    """Return `text` with every credential replaced by its kind or its variable, in brackets."""
    for name, value in _secrets().items():
        text = text.replace(value, f"[{name}]")
    for kind, form in FORMS.items():
        text = form.sub(f"[{kind}]", text)
    return text


def _secrets() -> dict[str, str]:
    """Return the secrets in this process's environment, by variable.

    The longest come first, because one secret may contain another.
    """
    found = {name: value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
