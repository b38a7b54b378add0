"""Push an export to a hub: adapter or model as a model repository, corpus as a dataset, with the card as its page.

The client of the hub takes token and endpoint from the environment or from its own login (HF_TOKEN, HF_ENDPOINT).
"""

from __future__ import annotations

import os
from pathlib import Path

from autophage.errors import UserError, first_line, foreign_errors
from autophage.host.credentials import credential_in

LARGEST_TEXT = 10 * 2**20
"""Most bytes of a file that is searched for credentials. Larger ones are weights and corpora."""
TEXTS = ("*.md", "*.toml", "*.json", "*.jinja", "*.txt")


def push(folder: Path, repository: str, what: str, *, public: bool) -> str:
    """Upload an exported folder as one commit to a repository, which is created if it is missing. Return its address.

    Args:
        repository: `USER/NAME` on the hub.
        what: Kind of the export. A corpus becomes a dataset.
        public: Create a public repository. An existing one keeps its visibility.

    Raises:
        UserError: The name is wrong, a file holds a credential, or the hub refuses.
    """
    from huggingface_hub import HfApi

    require_pushable(repository)
    _refuse_credentials(folder)
    kind = "dataset" if what == "corpus" else "model"
    api = HfApi()
    with foreign_errors(f"--push {repository}: the hub at {api.endpoint} refused", _remedy()):
        address = api.create_repo(repository, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            folder_path=folder,
            repo_id=address.repo_id,
            repo_type=kind,
            commit_message=f"Upload {what} of an Autophage run",
        )
    return str(address)


def require_pushable(repository: str) -> None:
    """Refuse a name that no repository can have, before anything is exported.

    Raises:
        UserError: The name is wrong or holds a credential, or the client is set to offline mode.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if kind := credential_in(repository):
        raise UserError(
            f"--push: the name of the repository contains {kind}. Give USER/NAME, and set HF_TOKEN instead."
        )
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(
            f"--push {repository}: is no name of a repository ({first_line(error)}). Give USER/NAME."
        ) from error
    if _offline():
        raise UserError(f"--push {repository}: HF_HUB_OFFLINE is set, so nothing can be sent. Set HF_HUB_OFFLINE=0.")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _refuse_credentials(folder: Path) -> None:
    """Search the text files of an export, such as the copy of the recipe, for credentials."""
    for path in sorted(path for pattern in TEXTS for path in folder.rglob(pattern)):
        if path.stat().st_size <= LARGEST_TEXT and (kind := credential_in(path.read_text("utf-8", errors="replace"))):
            raise UserError(f"{path.name}: contains {kind}. It is not pushed. Remove it from the recipe and run again.")


def _remedy() -> str:
    return "Check the name and your rights, and set HF_TOKEN to a token that may write. HF_ENDPOINT names another hub."
