"""How true predicted chances were: single faults of a run, beside what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.campaign.fingerprint import data_fingerprint
from stoic.faults.formats import format_of
from stoic.faults.models import Corruption
from stoic.faults.space import Fault
from stoic.network.sites import Site
from stoic.network.subject import Inputs
from stoic.records import Run
from stoic.sensitivity.chances import Reliability, reliability
from stoic.sensitivity.predicted import Look, predicted_faults

__all__ = ["calibration", "is_of"]

# Trials of a single fault that hits every input, and neither crashed nor is unknown.
_SINGLE = """
SELECT f.trial, f.site, f.element, f.bit, f.old, f.new
FROM faults f JOIN trials t USING (trial)
WHERE f.input < 0 AND t.status NOT IN ('crash', 'unknown')
    AND f.trial IN (SELECT trial FROM faults GROUP BY trial HAVING count(*) = 1)
ORDER BY f.trial
"""


def calibration(
    look: Look, sites: Iterable[Site], run: Run, most: int = 2000, seed: int = 0
) -> tuple[Reliability, ...]:
    """Return how often verdicts turned, by the chance that was predicted of each.

    Args:
        look: What predictions look at: the network and the inputs of the run.
        sites: Tensors whose faults count.
        run: With its trials.
        most: Trials that are looked at, drawn by lot.
        seed: Of the lot.
    """
    rows = _drawn(run, {site.name: site for site in sites}, most, seed)
    if not rows:
        return ()
    trials, faults = zip(*rows, strict=True)
    chance = predicted_faults(look, faults)
    return reliability(chance.ravel(), _failed(run, trials, chance.shape[1]).ravel())


def is_of(run: Run, inputs: Inputs, labels: Tensor | None) -> bool:
    """Say whether a run was on these very inputs, whatever source each came from."""
    sources = None
    if run.manifest.data.clustered:
        with run.connection() as tables:
            rows = tables.execute("SELECT cluster FROM golden ORDER BY input")
            sources = torch.tensor([cluster for (cluster,) in rows.fetchall()])
    ours = data_fingerprint(inputs.leaves, labels, sources)
    return run.manifest.data.fingerprint == ours


def _drawn(
    run: Run, sites: dict[str, Site], most: int, seed: int
) -> list[tuple[int, Fault]]:
    with run.connection() as tables:
        rows = [row for row in tables.execute(_SINGLE).fetchall() if row[1] in sites]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:most]
    return [_fault(rows[place], sites) for place in np.sort(chosen)]


def _fault(
    row: tuple[int, str, int, int, int, int], sites: dict[str, Site]
) -> tuple[int, Fault]:
    trial, site, element, bit, old, new = row
    format = format_of(sites[site].dtype)
    assert format is not None
    all_bits = 2**format.width - 1
    return trial, Fault(
        sites[site], element, None, Corruption(all_bits, old ^ new, bit)
    )


def _failed(run: Run, trials: Sequence[int], inputs: int) -> NDArray[np.bool_]:
    """Return verdicts that turned, ``[trials, inputs]``."""
    places = {trial: place for place, trial in enumerate(trials)}
    found = np.zeros((len(trials), inputs), bool)
    with run.connection() as tables:
        bad = tables.execute("SELECT trial, input FROM outcomes WHERE failed")
        for trial, row in bad.fetchall():
            if trial in places:
                found[places[trial], row] = True
    return found
