"""What a manifest says, in words for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from stoic.plans import (
    Adaptive,
    Exhaustive,
    Plan,
    Preset,
    Stratified,
    Uniform,
    read_plan,
)
from stoic.records import Manifest

__all__ = ["criterion_words", "fault_words", "mode_words", "plan_words", "planned"]

_CRITERIA = {
    "top1-changed": "its best class is another one than without the fault, or a score "
    "is not finite",
    "top1-wrong": "its class was right without the fault and is wrong with it",
    "top-k": "the best class without the fault is no longer among the {k} best",
    "threshold": "a score is on the other side of {level:g}, or not finite",
    "tolerance": "a score is off by more than {absolute:g} + {relative:g} × its size",
    "any-change": "any word of its output is another one",
    "detections-changed": "its numbers of true positives, false positives or misses "
    "are others than without the fault (boxes of one class that overlap by "
    "{overlap:g} or more, scores of {confidence:g} or more), or a number is not "
    "finite",
}
_FAULTS = {
    "flip": "one bit of a word is inverted",
    "multi-flip": "{k} bits of a word are inverted",
    "burst": "{k} neighbouring bits of a word are inverted",
    "stuck-at": "one bit of a word is held at {level}",
    "set": "a word is replaced by that of {value:g}",
    "random-word": "a word is replaced by a random one",
}
_MODES = {
    "exact": "every faulty output is, bit for bit, that of the network with the fault "
    "in place",
    "fast": "the verdicts are those of exact mode; outputs may differ from it in their "
    "last bits, so verdicts that these could turn were found exactly",
}


def criterion_words(record: Mapping[str, Any]) -> str:
    """Say when an input fails, by the record of a criterion."""
    own = "the user's own criterion {name} says so"
    return _filled(_CRITERIA.get(str(record.get("name")), own), record)


def fault_words(manifest: Manifest) -> str:
    """Say what a fault does, and how many strike together."""
    record = manifest.space.fault_model
    text = _filled(_FAULTS.get(str(record.get("name")), "{name}"), record)
    bits = record.get("bits", "all")
    if bits != "all":
        text += f" (bits: {bits})"
    several = record.get("several") or {}
    if several.get("count"):
        text += f"; {several['count']} faults strike together in each trial"
    elif several.get("rate"):
        text += f"; each fault strikes by itself, with probability {several['rate']:g}"
    return text


def mode_words(manifest: Manifest) -> str:
    """Say what a mode promises."""
    return _MODES[manifest.mode]


def planned(manifest: Manifest) -> int:
    """Return how many trials the plan asks for."""
    match read_plan(manifest.plan):
        case Adaptive():
            return 0
        case Uniform(trials=trials) | Preset(trials=trials):
            return trials
        case Stratified(trials=by_stratum):
            return sum(by_stratum.values())
    return manifest.space.size


def plan_words(manifest: Manifest) -> str:
    """Say how faults were chosen."""
    size = f"{manifest.space.size:,}"
    if manifest.space.fault_model.get("several"):
        return f"{planned(manifest):,} trials, each with faults drawn anew from {size}"
    return _plan(read_plan(manifest.plan), size)


def _plan(plan: Plan | Adaptive | Preset, size: str) -> str:
    match plan:
        case Adaptive():
            inputs = "one input" if plan.per_trial == 1 else f"{plan.per_trial} inputs"
            return (
                f"faults on {inputs} each, drawn from {size} where former trials say "
                f"that they tell most, until {_wanted(plan)}; the first {plan.pilot:,} "
                "only show where to look"
            )
        case Preset():
            return _preset(plan, size)
        case Exhaustive():
            return f"every one of the {size} faults, in order"
        case Uniform(trials, replacement):
            again = "any of them again" if replacement else "none of them twice"
            return f"{trials:,} faults drawn uniformly from {size}, {again}"
        case Stratified(by_stratum):
            counts = Counter(by_stratum.values())
            each = ", ".join(
                f"{trials:,} from each of {strata:,}"
                if trials
                else f"none from {strata:,}, which stay unknown"
                for trials, strata in counts.most_common(4)
            )
            more = " …" if len(counts) > 4 else ""
            return f"strata of {size} faults, uniformly within each: {each}{more}"
    return str(plan)


def _preset(plan: Preset, size: str) -> str:
    """Say how units were drawn that no outcome decided on."""
    inputs = "one input" if plan.per_trial == 1 else f"{plan.per_trial} inputs"
    text = f"{plan.trials:,} units, a fault on {inputs} each, drawn beforehand "
    match plan.design:
        case "uniform":
            how = "uniformly, none of them twice"
        case "stratified":
            how = "from strata by score, half of them by size, half by expected spread"
        case _:
            how = (
                f"{100 * plan.even:g} % uniformly, the others in proportion to their "
                "scores, any of them again"
            )
    return f"{text}from {size} faults: {how}"


def _wanted(plan: Adaptive) -> str:
    """Say when an adaptive plan is done."""
    goals = []
    if plan.half_width is not None:
        goals.append(f"the interval is ± {100 * plan.half_width:g} points")
    if plan.relative is not None:
        goals.append(f"it is ± {100 * plan.relative:g} % of the estimate")
    return " or ".join(goals) or "the time is over"


def _filled(text: str, record: Mapping[str, Any]) -> str:
    """Fill a template; a record from elsewhere may lack what it names."""
    try:
        return text.format_map(record)
    except (LookupError, ValueError, TypeError):
        return str(dict(record))
