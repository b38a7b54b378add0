"""Sampling with a running vLLM engine, into which adapters are swapped in memory.

Knows vLLM, but neither training, Ray nor the files of a run. Only `worker`, `hooks`, `reload` and `cpu_lora` with
`grouped_lora` touch vLLM's internals.
"""
