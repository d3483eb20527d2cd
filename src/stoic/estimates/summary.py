"""A run in one sentence."""

from __future__ import annotations

from stoic.estimates.estimate import Estimate
from stoic.plans import Exhaustive, Stratified, read_plan
from stoic.records import Manifest

__all__ = ["summary"]

_FAULTS = {
    "flip": "single-bit flips",
    "multi-flip": "flips of {k} bits of a word",
    "burst": "flips of {k} neighbouring bits",
    "stuck-at": "bits stuck at {level}",
    "set": "words set to {value}",
    "random-word": "random words",
}


def summary(manifest: Manifest, estimate: Estimate) -> str:
    """Say what was measured, how sure it is, and what it is about.

    Args:
        manifest: Of the run.
        estimate: The vulnerability of its whole fault space.
    """
    model = manifest.space.fault_model
    faults = _FAULTS.get(str(model.get("name")), "{name} faults").format(**model)
    kinds = dict.fromkeys(f"{site.kind}s" for site in manifest.space.sites)
    where = f"{' and '.join(kinds)} of {manifest.network.name}"
    text = f"PVF {estimate} for {faults} in {where}, over {estimate.about}"
    how = _how(manifest, estimate)
    return f"{text}; {how}." if how else f"{text}."


def _how(manifest: Manifest, estimate: Estimate) -> str:
    size = f"{manifest.space.size:,}"
    plan = read_plan(manifest.plan)
    if estimate.kind == "census":
        return ""
    if isinstance(plan, Exhaustive):
        return f"the first {estimate.n:,} of {size} faults tried, the others unknown"
    if isinstance(plan, Stratified):
        strata = f"{len(manifest.strata)} strata of {size} faults"
        return f"{estimate.n:,} faults drawn from {strata}"
    again = " with replacement" if manifest.plan["replacement"] else ""
    return f"{estimate.n:,} faults drawn uniformly{again} from {size}"
