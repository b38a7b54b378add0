"""Remedies compared with the naked loop: numbers, table, Pareto front."""
