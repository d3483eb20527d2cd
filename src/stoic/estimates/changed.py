"""How many faults change their word at all: a stuck bit may be what it was."""

from __future__ import annotations

import numpy as np

from stoic.estimates.draws import samples_of
from stoic.estimates.facts import read_facts
from stoic.estimates.mean import estimate_mean
from stoic.estimates.population import group_sizes
from stoic.estimates.searched import is_searched
from stoic.estimates.tables import Row
from stoic.records import Run

__all__ = ["MAY_KEEP", "changed_share"]

# Fault models that may leave a word as it was.
MAY_KEEP = ("stuck-at", "set", "random-word")


def changed_share(run: Run, *, confidence: float = 0.95) -> tuple[Row, ...]:
    """Estimate the share of faults that leave another word than they found.

    A fault in a value of every input is told by the first of them. There is no row for
    flips, which always change the word.
    """
    if run.manifest.space.fault_model.get("name") not in MAY_KEEP:
        return ()
    if is_searched(run.manifest):
        return ()
    with run.connection() as connection:
        facts = read_facts(connection, "o.failed")
        changed = connection.execute(
            "SELECT trial, avg((old <> new)::INT) AS share FROM faults GROUP BY trial"
        ).fetchnumpy()
    share = np.zeros(len(facts.trial))
    share[np.searchsorted(facts.trial, changed["trial"])] = changed["share"]
    several = run.manifest.space.fault_model.get("several") is not None
    faults = group_sizes(run.manifest, ["network"])[(run.manifest.network.name,)]
    samples = samples_of(
        run.manifest, faults, facts.stratum, share, share, coins=not several
    )
    estimate = estimate_mean(samples, confidence=confidence, about="words")
    return (Row(("changes the word",), estimate, faults.total(), len(facts.trial)),)
