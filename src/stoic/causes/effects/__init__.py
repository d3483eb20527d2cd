"""Effects: which pipelines are better, and which of their stages matters.

All read one table of runs: pipelines x cases x seeds. `pairs` tells how often one
beats another, `ranking` which are not shown to be behind the best, `explained` how much
of the variance is due to each stage, `mixed_model` what holds on cases like these.
"""

from stoic.causes.effects.explained import LEFT, TIMES, explained
from stoic.causes.effects.mixed import Components, Level, Mixed, Term, mixed_model
from stoic.causes.effects.pairs import Pair, a12, pairs
from stoic.causes.effects.ranks import Ranking, critical_difference, ranking
from stoic.causes.effects.runs import Runs

__all__ = [
    "LEFT",
    "TIMES",
    "Components",
    "Level",
    "Mixed",
    "Pair",
    "Ranking",
    "Runs",
    "Term",
    "a12",
    "critical_difference",
    "explained",
    "mixed_model",
    "pairs",
    "ranking",
]
