"""Stages of one generation: requests, training, canary, gates and measuring. The workbench wires them."""
