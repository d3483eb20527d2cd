"""How far a list of the worst sites can be trusted."""

from __future__ import annotations

from stoic.estimates.tables import pvf, worst_first
from stoic.records import Run

__all__ = ["worst_within"]


def worst_within(run: Run, n: int = 10, *, confidence: float = 0.95) -> float:
    """Return how far below the true n-th worst site any of the worst n may be.

    All sites are looked at together: with the confidence given, none of their intervals
    misses. If a listed site is not among the true n worst, then one that is not listed
    is at least as bad as the n-th; so the gap is at most that between the highest upper
    limit outside of the list and the lowest lower limit in it.

    Args:
        run: With one fault per trial.
        n: Length of the list.
        confidence: That the answer holds.

    Returns:
        A difference of vulnerabilities; 0 where the list is certain.

    Raises:
        ValueError: As for `stoic.estimates.pvf`.
    """
    sites = len(run.manifest.space.sites)
    each = 1 - (1 - confidence) / sites
    rows = pvf(run, "site", confidence=each, interval="guaranteed")
    ordered = worst_first(rows)
    listed, others = ordered[:n], ordered[n:]
    if sites <= n:
        return 0.0
    # A site without trials may be as bad as can be.
    untried = 1.0 if len(rows) < sites else 0.0
    highest = max([untried, *(row.estimate.high for row in others)])
    lowest = min((row.estimate.low for row in listed), default=0.0)
    return max(highest - lowest, 0.0)
