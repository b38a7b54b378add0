"""What turns human passages into prompts for data: the protocol, and the built-in makers, a file each.

A maker is named in `pyproject.toml` under the entry-point group `autophage.makers`, built in or not. It writes prompts alone:
which model answers them, and what becomes of the answers, is the loop's matter. One round: a prompt is a function of human
text, never of an answer.
"""

from autophage.data.passages import Conversation, Passages
from autophage.makers.protocol import Maker, ask, make_maker

__all__ = ["Conversation", "Maker", "Passages", "ask", "make_maker"]
