"""What a run leaves on disk, and the only code that reads or writes it.

Knows files, hashes and locks; does not know models, samplers or recipes' meaning. Imports neither torch, ray nor vllm.
"""
