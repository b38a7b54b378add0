"""Figures and words for learners that are not language models."""
