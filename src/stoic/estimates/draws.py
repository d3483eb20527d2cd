"""From trials of a plan to samples that an estimate can stand on."""

from __future__ import annotations

from collections import Counter

import numpy as np

from stoic.estimates.facts import Integers
from stoic.estimates.population import stratified
from stoic.estimates.sample import Floats, Sample
from stoic.plans import Exhaustive, Stratified, Uniform, read_plan
from stoic.records import Manifest

__all__ = ["samples_of"]


def samples_of(
    manifest: Manifest,
    sizes: Counter[int],
    stratum: Integers,
    low: Floats,
    high: Floats,
    *,
    coins: bool,
) -> list[Sample]:
    """Return the samples of a group of faults.

    Given how many fell into it, the trials of a group are a uniform sample of its
    faults, stratum by stratum.

    Args:
        manifest: Of the run.
        sizes: Faults of the group, by stratum.
        stratum: Of each trial of the group, in the order drawn.
        low: Share of failed inputs of each.
        high: The same, at most.
        coins: Whether the design allows no other shares than 0 and 1.
    """
    plan = read_plan(manifest.plan)
    if stratified(manifest):
        return [
            _part(manifest, plan, size, low[rows], high[rows], coins, number)
            for number, size in sorted(sizes.items())
            for rows in [np.flatnonzero(stratum == number)]
        ]
    size = sizes.total()
    if isinstance(plan, Exhaustive) and len(low) < size:
        # In the order of the space, the first trials say nothing of the others.
        rest = Sample(low[:0], high[:0], size - len(low), coins=coins)
        return [Sample(low, high, len(low), coins=coins), rest]
    return [_part(manifest, plan, size, low, high, coins, 0)]


def _part(
    manifest: Manifest,
    plan: object,
    size: int,
    low: Floats,
    high: Floats,
    coins: bool,
    number: int,
) -> Sample:
    match plan:
        case Uniform(trials, replacement):
            horizon = trials * size // manifest.space.size
            return Sample(low, high, size, replacement, horizon, coins)
        case Stratified(trials):
            whole = manifest.strata[number]
            horizon = trials[whole.name] * size // whole.size
            return Sample(low, high, size, False, horizon, coins)
    return Sample(low, high, size, coins=coins)
