"""Plotly figures of metrics and corpora, as plain data."""
