"""Parts of `bench/first_gpu.py`.

    plan       steps in order of importance, their needs, and the arithmetic of the budget
    evidence   rows of a file that outlive the process, and what an earlier command left there
    summary    the rows as tables
    session    one process for each step, with a deadline
    kernels    kernels and their GPU tests, with torch and triton alone
    subjects   models, adapters and requests of the engine's steps
    sampling   start, swap, canary, recording, a generation, adapters in a batch
    training   the trainer alone, and both sides at once

`plan`, `evidence`, `summary` and `session` need the standard library only. No module but `subjects`, `sampling` and `training`
imports the engine.
"""

import kernel_bench  # noqa: F401  (takes this folder off the import path; both packages are found without it from here on)
