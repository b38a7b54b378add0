"""`self-edit`: the model restructures human passages into its own training data (SEAL, arXiv 2506.10943).

Each passage is asked for `maker.edits` times, in the formats by turns. The paper trains on the edits with the largest
gain. The gate `gain` selects those, and without it all edits are kept.
"""

from __future__ import annotations

from autophage.data.passages import Conversation, Passages
from autophage.makers.protocol import Maker, ask
from autophage.seeds import generator

FORMATS = {
    "implications": "Read the passage and list what follows from it, directly or indirectly. Write one statement a line, each "
    "to be understood without the passage.",
    "rewrite": "Rewrite the passage in other words and in another order. Keep every fact, and add none.",
    "self-qa": "Write questions that the passage answers, each followed by its answer, one pair after the other, as in "
    '"Question: ... Answer: ...". Each is to be understood without the passage.',
}
"""Map from format to the instruction of a prompt. The passage follows the instruction."""


class SelfEdit(Maker):
    """Maker `self-edit`. A prompt asks the model to restructure a human passage, in several formats by turns."""

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        formats, edits = self.settings.formats, self.settings.edits
        rng = generator(seed, "formats")
        asked = []
        for passage in passages.draw(seed, -(-count // edits)):
            first = rng.randrange(len(formats))
            for edit in range(edits):
                wanted = FORMATS[formats[(first + edit) % len(formats)]]
                asked.append(ask(f"{wanted}\n\n{passage}", self.settings.system))
        return asked[:count]
