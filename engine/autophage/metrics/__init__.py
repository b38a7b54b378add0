"""What is measured on a generation: pure functions of token statistics, probes and texts.

Knows numpy; does not know torch, vLLM, Ray or files.
"""
