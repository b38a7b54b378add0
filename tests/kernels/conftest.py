"""Which tests of the kernels this process can run: Triton decides at import whether kernels are interpreted."""

from __future__ import annotations

import os

# `test_interpreter.py` runs this directory in a process of its own, with TRITON_INTERPRET=1.
collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
