"""Metrics of a generation: pure functions of token statistics, probes and texts.

The package knows numpy. It does not know torch, vLLM, Ray or files.
"""
