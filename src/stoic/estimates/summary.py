"""A run in one sentence."""

from __future__ import annotations

from typing import Any

from stoic.estimates.estimate import Estimate
from stoic.plans import Adaptive, Exhaustive, Preset, Stratified, read_plan
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


_DRAWN = {
    "uniform": "drawn uniformly",
    "stratified": "drawn by strata",
    "importance": "drawn by importance",
}


def summary(manifest: Manifest, estimate: Estimate) -> str:
    """Say what was measured, how sure it is, and what it is about.

    Args:
        manifest: Of the run.
        estimate: The vulnerability of its whole fault space.
    """
    sites = manifest.space.sites
    kinds = " and ".join(dict.fromkeys(f"{site.kind}s" for site in sites))
    where = f"{len(sites):,} sites ({kinds}) of {manifest.network.name}"
    faults = _faults(manifest.space.fault_model)
    text = f"PVF {estimate} for {faults} in {where}, over {estimate.about}"
    how = _how(manifest, estimate)
    return f"{text}; {how}." if how else f"{text}."


def _faults(model: dict[str, Any]) -> str:
    text = _FAULTS.get(str(model["name"]), "{name} faults").format(**model)
    if (bits := model.get("bits", "all")) != "all":
        text = f"{text} (bits {bits})"
    several = model.get("several")
    if several is None:
        return text
    if several.get("rate") is not None:
        return f"{text} at a rate of {several['rate']:g}"
    return f"{text}, {several['count']:,} at a time,"


def _how(manifest: Manifest, estimate: Estimate) -> str:
    size = f"{manifest.space.size:,}"
    plan = read_plan(manifest.plan)
    if estimate.kind == "census":
        return ""
    if manifest.space.fault_model.get("several"):
        return f"{estimate.n:,} trials, each with faults drawn anew from {size}"
    if isinstance(plan, Adaptive | Preset):
        each = "1 input" if plan.per_trial == 1 else f"{plan.per_trial} inputs"
        how = "chosen" if isinstance(plan, Adaptive) else _DRAWN[plan.design]
        return f"{estimate.n:,} trials on {each} each, {how} from {size} faults"
    if isinstance(plan, Exhaustive):
        return f"the first {estimate.n:,} of {size} faults tried, the others unknown"
    if isinstance(plan, Stratified):
        strata = f"{len(manifest.strata)} strata of {size} faults"
        return f"{estimate.n:,} faults drawn from {strata}{_left_out(manifest, plan)}"
    again = " with replacement" if manifest.plan["replacement"] else ""
    return f"{estimate.n:,} faults drawn uniformly{again} from {size}"


def _left_out(manifest: Manifest, plan: Stratified) -> str:
    """Say what the plan leaves unknown, and what the numbers make of it."""
    sizes = [s.size for s in manifest.strata if not plan.trials.get(s.name)]
    if not sizes:
        return ""
    part = f"{100 * sum(sizes) / manifest.space.size:.3g} % of the faults"
    return (
        f", none from {len(sizes)} of them with {part}: these are unknown, the value "
        "is that of the others and the interval allows for both"
    )
