"""Selection of kernel tests. Triton decides at import if kernels are interpreted."""

from __future__ import annotations

import os

# `test_interpreter.py` runs this directory in a process of its own, with TRITON_INTERPRET=1.
collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
