"""The files of a run directory, and the only code that reads or writes them.

Knows files, hashes and locks. Does not know models, samplers or the meaning of recipes. Imports neither torch, ray nor
vllm.
"""
