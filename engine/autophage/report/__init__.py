"""The report of a run: one HTML file that needs no network and no server, and one SVG picture.

Reads a run directory through `store` and writes `report.html`. Knows the names of metrics and what they mean; does not
know how they were measured. Imports neither torch, ray nor vllm.
"""

from autophage.report.hero import hero_figure
from autophage.report.page import account_facts, read_account, write_report

__all__ = ["account_facts", "hero_figure", "read_account", "write_report"]
