"""What judges samples before they are trained on: the protocol, how gates are applied, and the built-in ones, a file each.

A gate is named in `pyproject.toml` under the entry-point group `autophage.gates`, built in or not. Nothing here knows the
sampler or when a generation is made; models are imported inside the methods that ask them.
"""

from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, reject, require_finite

__all__ = ["Context", "Gate", "Verdict", "abstain", "accept", "reject", "require_finite"]
