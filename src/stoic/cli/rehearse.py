"""``stoic monitor run``: a guarded network on the inputs of a case, under a policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoic.cli.ending import TOO_HIGH, one_line, stop
from stoic.cli.monitor_options import File, InputCount
from stoic.cli.options import Bits, CaseName, Seed
from stoic.cli.output import aligned, chat
from stoic.cli.unseen import with_inputs_after

if TYPE_CHECKING:
    from stoic.cases.case import Case
    from stoic.monitors.counters import Counters
    from stoic.monitors.monitor import Monitor
    from stoic.monitors.rehearsal import Tally
    from stoic.network.subject import Inputs

__all__ = ["run"]

_BATCH = 50
# Inputs by which the ranges of the policy clamp are measured.
_MEASURED = 500


def run(
    case: CaseName,
    file: File,
    inputs: InputCount = 200,
    first: Annotated[
        int | None,
        typer.Option("--first", help="Number of the first; after those of 'fit'."),
    ] = None,
    policy: Annotated[
        str, typer.Option("--policy", help="keep, warn, raise, retry or clamp.")
    ] = "warn",
    unlike: Annotated[
        bool, typer.Option("--unlike", help="The calibrated alarm counts, too.")
    ] = False,
    faults: Annotated[
        int, typer.Option("--faults", help="In weights, one while each batch runs.")
    ] = 0,
    bits: Bits = "all",
    passing: Annotated[
        bool, typer.Option("--passing", help="Faults are gone in a second run.")
    ] = False,
    corrupt: Annotated[
        str, typer.Option("--corrupt", help="noise, blur, contrast and others.")
    ] = "",
    strength: Annotated[
        float | None,
        typer.Option("--strength", help="Of it; half fail by default."),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="File of counters for Prometheus.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Run the guarded network of CASE, see its verdicts and what a policy does."""
    from stoic.monitors.counters import Counters
    from stoic.monitors.guarded import guard_with_file
    from stoic.monitors.rehearsal import Rehearsal, named_policy, weight_faults
    from stoic.records.files import check_writable
    from stoic.study import as_inputs

    with one_line():
        _check(inputs, first, faults)
        _check_strength(corrupt, strength)
        if metrics:
            check_writable("metrics", metrics)
        found = _loaded(file)
        start = int(found.about.get("inputs", 0)) if first is None else first
        loaded = with_inputs_after(start, inputs, case, file)
        network, every = loaded.network, as_inputs(loaded.inputs)
        clean = every.rows(start, start + inputs)
        guarded = guard_with_file(network, file, every.rows(0, 2))
        chosen = named_policy(policy, guarded, _known(every, start), chat)
        given = _corrupted(clean, corrupt, strength, found, seed) if corrupt else clean
        drawn = weight_faults(guarded, faults, bits=bits, seed=seed) if faults else []
        counters = Counters(found.classes, {"case": case})
        rehearsal = Rehearsal(network, guarded, chosen, unlike, passing, counters)
        rehearsal = replace(rehearsal, **_judged(loaded))
        with _ended(counters, metrics):
            tallies = rehearsal.tallies(clean, given, drawn)
    print(aligned([_row(tally, policy) for tally in tallies]))


@contextmanager
def _ended(counters: Counters, metrics: Path | None) -> Iterator[None]:
    """Write counters in the end, also where an alarm ends it."""
    from stoic.monitors.policies import AlarmError

    try:
        yield
    except AlarmError as error:
        stop(error, TOO_HIGH)
    finally:
        if metrics:
            counters.write(metrics)


def _judged(case: Case) -> dict[str, Any]:
    how: dict[str, Any] = {"criterion": case.judged_by, "batch": _BATCH}
    return how | ({"scores": case.tail} if case.tail else {})


def _check(inputs: int, first: int | None, faults: int) -> None:
    from stoic.campaign.checks import check_count

    check_count("inputs", inputs)
    check_count("first", first, 0)
    check_count("faults", faults, 0)


def _check_strength(corrupt: str, strength: float | None) -> None:
    if strength is not None and not corrupt:
        raise ValueError(
            f"strength must be that of a corruption, got {strength:g} without any; "
            "add --corrupt"
        )


def _known(inputs: Inputs, start: int) -> list[Inputs]:
    """Return batches of those that the monitor was fitted with, if there are any."""
    count = min(start or inputs.count, _MEASURED)
    return [inputs.rows(n, min(n + _BATCH, count)) for n in range(0, count, _BATCH)]


def _loaded(file: Path) -> Monitor:
    from stoic.monitors.monitor import Monitor

    return Monitor.load(file)


def _corrupted(
    inputs: Inputs, name: str, strength: float | None, monitor: Monitor, seed: int
) -> Inputs:
    """Return inputs as an option says: half of the images fail by default."""
    from stoic.campaign.checks import check_name
    from stoic.monitors.corruptions import (
        CORRUPTIONS,
        UNSEEN,
        Pixels,
        is_image,
        pixels_of,
    )
    from stoic.monitors.strengths import spoilt_of

    kinds = {kind.name: kind for kind in (*CORRUPTIONS, *UNSEEN)}
    check_name("corrupt", name, tuple(kinds))
    images = [leaf for leaf in inputs.leaves if is_image(leaf)]
    if not images:
        raise ValueError(
            "inputs to corrupt must be images, got a case without; leave --corrupt out"
        )
    known = [s for s in spoilt_of(monitor.about) if s.corruption.name == name]
    if strength is None and not known:
        raise ValueError(
            f"strength of {name} must be given where the monitor was not fitted with "
            f"any, got none; add --strength, {kinds[name].most:g} at most"
        )
    if strength is None:
        strength = min(known, key=lambda each: abs(each.share - 0.5)).strength
    told = monitor.about.get("pixels")
    pixels = Pixels.of_record(told) if told else pixels_of(images[0])
    return pixels.on(inputs, kinds[name], strength, seed)


def _row(tally: Tally, policy: str) -> dict[str, str]:
    return {
        "verdict": tally.verdict,
        "inferences": f"{tally.inferences:,}",
        "unlike": f"{tally.unlike:,}",
        "failed": f"{tally.failed:,}",
        f"failed after {policy}": f"{tally.left:,}",
    }
