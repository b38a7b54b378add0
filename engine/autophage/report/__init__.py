"""Report of a run: one self-contained HTML file and one SVG picture.

The package reads a run directory through `store` and writes `report.html`. It knows the names and meanings of metrics,
not how they were measured. It imports neither torch, ray nor vllm.
"""

from autophage.report.hero import hero_figure
from autophage.report.page import account_facts, read_account, write_report

__all__ = ["account_facts", "hero_figure", "read_account", "write_report"]
