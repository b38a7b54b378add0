"""Training: the resident model with its variants, and base models trained on a source.

This package knows torch, PEFT and TRL. It knows neither vLLM, Ray, arms nor the files of a run.
"""
