"""Scoring of any text under any model: full-vocabulary statistics of every token, teacher-forced.

`windows` cuts documents, `models` loads models, `score` computes, and `table` writes the result.
"""

from autophage.scoring.models import Scorer, load_scorer
from autophage.scoring.score import score_documents
from autophage.scoring.table import ScoreSummary
from autophage.scoring.windows import NamedText, read_documents

__all__ = ["NamedText", "ScoreSummary", "Scorer", "load_scorer", "read_documents", "score_documents"]
