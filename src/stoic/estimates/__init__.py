"""Estimates: from the trials of a run to numbers with honest intervals."""

from stoic.estimates.estimate import Estimate, Kind, Verdict, verdict
from stoic.estimates.mean import Interval, estimate_mean
from stoic.estimates.named import TABLES, check_table
from stoic.estimates.outcomes import OUTCOMES, outcome_shares
from stoic.estimates.parts import per_class, per_input
from stoic.estimates.population import By, Key
from stoic.estimates.sample import Sample
from stoic.estimates.summary import summary
from stoic.estimates.tables import About, Row, pvf, worst_sites

__all__ = [
    "OUTCOMES",
    "TABLES",
    "About",
    "By",
    "Estimate",
    "Interval",
    "Key",
    "Kind",
    "Row",
    "Sample",
    "Verdict",
    "check_table",
    "estimate_mean",
    "outcome_shares",
    "per_class",
    "per_input",
    "pvf",
    "summary",
    "verdict",
    "worst_sites",
]
