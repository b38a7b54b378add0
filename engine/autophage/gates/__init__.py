"""Gates: judges of samples before training. Each built-in gate has its own file.

Every gate, built in or not, is an entry point of the group `autophage.gates` in `pyproject.toml`. This package knows
neither the sampler nor the order of a generation. Methods that ask a model import it themselves.
"""

from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, reject, require_finite

__all__ = ["Context", "Gate", "Verdict", "abstain", "accept", "reject", "require_finite"]
