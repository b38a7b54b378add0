"""Training: the resident model with its adapter, and the small base models that are made from a source.

Knows torch, PEFT and TRL; does not know vLLM, Ray, arms or files of a run.
"""
