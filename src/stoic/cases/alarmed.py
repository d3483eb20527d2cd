"""Failures of a monitor: its false alarms, and the failures that it misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases.afflicted.search import EXAMPLES
from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.cases.wrong import classes_of, images_of, range_of
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST
from stoic.faults.formats import format_of
from stoic.marking import MARKERS, logarithmic, watching
from stoic.monitoring import MonitorSettings, Trying, seen_by
from stoic.monitors.collecting import Recipe, Watched, shown
from stoic.monitors.corruptions import Pixels
from stoic.monitors.monitor import Monitor
from stoic.monitors.strengths import spoilt_of
from stoic.monitors.traces import NOTHING, Traces
from stoic.monitors.watches import features_of
from stoic.network.subject import Inputs

__all__ = ["Alarmed", "alarmed_inputs"]

# Of one cause: nobody can tell two flipped bits from one by what they did.
_SINGLE = Trying(faults=("flip",))
Alarmed: TypeAlias = Literal["false-alarms", "misses"]


def alarmed_inputs(
    case: Case, file: Path, of: Alarmed, count: int, seed: int, *, first: int = 0
) -> Inquiry:
    """Return inferences that a monitor judges wrongly.

    It is tried on each input as it is, corrupted in all ways that it was fitted with
    and some more, and under faults in memory. A false alarm is an inference that its
    rules call wrong and whose output has not changed for the worse; a miss is one that
    they call regular and that fails. What was done to the input is the known cause.
    Outputs that are not finite are in neither.

    Args:
        case: With images that the monitor was not fitted with.
        file: Of the monitor.
        of: Which of the two.
        count: How many; fewer if there are not so many.
        seed: Chooses among more.
        first: Number of the first input, to tell it from those of the monitor.

    Raises:
        CaseError: The case has no images, or the monitor errs too seldom.
        ValueError: The file is no monitor, or one of another network.
    """
    images, monitor = images_of(case), Monitor.load(file)
    settings = MonitorSettings(criterion=case.judged_by, tail=case.tail)
    watched = watching(case.network, images)
    watches = (*monitor.watches, *watched.watches)
    how: dict[str, Any] = {"first": first, "settings": settings, "trying": _SINGLE}
    traces = seen_by(monitor, case.network, images, watches=watches, **how)
    said = monitor.verdicts(traces.columns(monitor.rules.features).values)
    failed, alarm = traces.origin.failed, said.label > 0
    wrong = (alarm & ~failed) if of == "false-alarms" else (~alarm & failed)
    wrong &= ~traces.origin.broken
    places = np.random.default_rng(seed).permutation(np.flatnonzero(wrong))[:count]
    _check_enough(case, of, len(places), len(traces))
    clean = traces.rows(traces.origin.kind == NOTHING)
    own = traces.rows(places)
    recorded = {"score": said.score[places], "unlike": said.unlike[places]}
    recorded |= _recorded(own, watched)
    rows = own.origin.image - first
    return _inquiry(
        case,
        Failures(
            images=_shown(own, images, monitor, settings, first),
            labels=_right(case, clean)[rows],
            scores=own.scores,
            names=_names(case, own, rows),
            recorded=recorded,
            scenarios=own.origin.kind.astype(np.str_),
            observed={MARKERS: _markers(own, clean, watched)},
        ),
        clean,
        images,
    )


def _check_enough(case: Case, of: Alarmed, found: int, rows: int) -> None:
    if found < 2 * LEAST:
        what = "false alarms" if of == "false-alarms" else "misses"
        raise CaseError(
            f"{what} must be at least {2 * LEAST} to be clustered, got {found} in "
            f"{rows:,} inferences on {len(case):,} inputs of {case.name}; "
            "ask for more failures, or give the case more inputs"
        )


def _shown(
    traces: Traces,
    images: Tensor,
    monitor: Monitor,
    settings: MonitorSettings,
    first: int,
) -> Tensor:
    spoilt = spoilt_of(monitor.about)
    return shown(
        traces,
        Inputs((images,), {}),
        Recipe(spoilt),
        batch=settings.batch,
        # As monitors are tried: with noise that they were not fitted with.
        seed=settings.seed + 1,
        pixels=Pixels.of_record(monitor.about["pixels"]) if spoilt else None,
        first=first,
    )


def _right(case: Case, clean: Traces) -> NDArray[np.int64]:
    """Return what is right of each input: its label or else what the network says."""
    labels = classes_of(case)
    if labels is not None:
        return np.asarray(labels.numpy())
    return np.asarray(clean.scores.argmax(1))


def _names(case: Case, traces: Traces, rows: NDArray[np.int64]) -> tuple[str, ...]:
    names = case.names or [f"{case.name} {row}" for row in range(len(case))]
    origin = traces.origin

    def done(place: int) -> str:
        kind, site = str(origin.kind[place]), str(origin.site[place])
        if kind == NOTHING:
            return ""
        if site:
            return f" under {site}[{origin.element[place]}] bit {origin.bit[place]}"
        return f" with {kind} {origin.strength[place]:.3g}"

    return tuple(f"{names[row]}{done(place)}" for place, row in enumerate(rows))


def _recorded(traces: Traces, watched: Watched) -> dict[str, NDArray[Any]]:
    """Return what was done to each inference."""
    origin, sites = traces.origin, {each.name: each for each in watched.subject.sites}
    order = sorted({site.order for site in sites.values()})
    depth = [
        order.index(sites[name].order) if name in sites else np.nan
        for name in origin.site.tolist()
    ]
    roles = [
        _role(sites[name].dtype, bit) if name in sites else "none"
        for name, bit in zip(origin.site.tolist(), origin.bit.tolist(), strict=True)
    ]
    return {
        "kind": origin.kind,
        "strength": origin.strength,
        "site": np.array([name or "none" for name in origin.site.tolist()]),
        "depth": np.array(depth, np.float64),
        "bit": origin.bit,
        "role": np.array(roles),
    }


def _role(dtype: torch.dtype, bit: int) -> str:
    format = format_of(dtype)
    return format.roles[bit] if format else "none"


def _markers(own: Traces, clean: Traces, watched: Watched) -> NDArray[np.float32]:
    names = features_of(watched.watches)
    return logarithmic(own.columns(names).values, clean.columns(names).values)


def _inquiry(case: Case, failures: Failures, clean: Traces, images: Tensor) -> Inquiry:
    right = _right(case, clean)
    fine = np.flatnonzero(clean.scores.argmax(1) == right)[:EXAMPLES]
    black, white = range_of(images)
    return Inquiry(
        network=case.network,
        failures=failures,
        examples=Examples(images[fine], right[fine]),
        black=black,
        white=white,
        classes=case.classes or (),
    )
