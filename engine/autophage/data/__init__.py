"""Where human data comes from and how a training corpus is mixed.

Knows documents, token ids and probes; does not know vLLM, Ray or how anything is trained.
"""
