"""Makers: prompts for synthetic data, written from human passages. Each built-in maker has its own file.

Every maker, built in or not, is an entry point of the group `autophage.makers` in `pyproject.toml`. A maker writes
prompts only. The loop chooses the model that answers and the use of the answers. A prompt is a function of human text
and never of an answer. One round of sampling is therefore enough.
"""

from autophage.data.passages import Conversation, Passages
from autophage.makers.protocol import Maker, ask, make_maker

__all__ = ["Conversation", "Maker", "Passages", "ask", "make_maker"]
