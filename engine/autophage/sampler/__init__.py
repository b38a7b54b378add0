"""Sampling: a running vLLM engine, adapters swapped into it in memory, and the check that each swap took.

Knows vLLM; does not know training, Ray or files of a run. `worker`, `hooks` and
`cpu_lora` with `grouped_lora` are the only modules that touch vLLM's internals.
"""
