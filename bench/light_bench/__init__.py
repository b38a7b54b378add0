"""Parts of `bench/light.py`.

    parts     operations of a profile by kind, and the parts of a step whose sum is the step
    asked     the sizes of what is measured, and the FLOPs and bytes of its matrix products
    subject   the worker: sampler and trainer on one model, and the matrix products alone
    steps     training steps, scoring and the head, whole and with parts switched off
    running   the same work inside a run, with its two processes
    peers     `generate`, stock vLLM and TRL on the same documents

`parts` needs the standard library only.
"""

import harness  # noqa: F401  (takes this folder off the import path; both packages are found without it from here on)
