"""Human data, prompts, and the mix of a training corpus.

This package knows documents, token ids and probes. It knows neither vLLM nor Ray, and trains nothing.
"""
