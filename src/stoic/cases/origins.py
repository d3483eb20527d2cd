"""Failures of any origin: mistakes, faults, and what a monitor judges wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from stoic.cases.catalogue import Entry, entry_of, load
from stoic.cases.errors import CaseError

if TYPE_CHECKING:
    from stoic.cases.case import Case
    from stoic.causes.failures import Inquiry

__all__ = ["Origin", "failing", "failing_of"]

Origin = Literal["mistakes", "faults", "false-alarms", "misses"]
"""Of which kind failures are.

What a network gets wrong, what it gets wrong only under a hardware fault, and what a
monitor of it judges wrongly: alarms without need, and failures without an alarm.
"""


# Inputs that are tried where a case has as many as are asked for.
_TRIED = 500


def failing(
    name: str,
    count: int,
    seed: int,
    *,
    of: Origin = "mistakes",
    monitor: Path | str | None = None,
    kept: Path | str | None = None,
) -> Inquiry:
    """Return failures of a case, with what its network was made for.

    Some cases know how to fail: causes are given to rendered scenes or pictures, and
    what each failure is due to is known. Otherwise they are the inputs that the network
    gets wrong, by the case's labels. Of failures under faults, and of those of a
    monitor, it is always known what was done.

    Args:
        name: Of a built-in case, or ``"module:function"`` of your own.
        count: How many failures; fewer if there are not so many.
        seed: Chooses them.
        of: ``mistakes`` of the network, ``faults`` that make it wrong, ``false-alarms``
            or ``misses`` of a monitor.
        monitor: File of the monitor, for the last two.
        kept: Folder to keep them in, so that they are there the next time. Not those
            of a case of your own, which may depend on anything.

    Raises:
        CaseError: There is no such case, it lacks something, or fails too seldom.
        ValueError: There is no such kind of failures, or no monitor of the network.
    """
    _check_seed(seed)
    monitor = Path(monitor) if isinstance(monitor, str) else monitor
    entry = None if ":" in name else entry_of(name)
    first = _known(of, monitor)
    if entry is None or kept is None:
        return _found(name, entry, count, seed, of, monitor, first)
    from stoic.cases.kept import kept_failures

    return kept_failures(
        Path(kept),
        entry,
        (count, seed, of, monitor),
        lambda: _found(name, entry, count, seed, of, monitor, first),
    )


def _found(
    name: str,
    entry: Entry | None,
    count: int,
    seed: int,
    of: Origin,
    monitor: Path | None,
    first: int,
) -> Inquiry:
    if of == "mistakes" and entry is not None and entry.failing is not None:
        return entry.failing(count, seed)
    most = 0 if entry is None else entry.most
    inputs = None if entry is None else most or _TRIED
    if inputs is not None and first:
        inputs = _beyond(name, first, most)
    return failing_of(
        load(name, inputs), count, seed, of=of, monitor=monitor, first=first
    )


def failing_of(
    case: Case,
    count: int,
    seed: int,
    *,
    of: Origin = "mistakes",
    monitor: Path | str | None = None,
    first: int = 0,
) -> Inquiry:
    """Return failures among the inputs of a case; otherwise as `failing`.

    Args:
        case: Of images.
        count: How many failures.
        seed: Chooses them.
        of: Which kind.
        monitor: File of the monitor.
        first: Inputs that the monitor was fitted with, and are left out.
    """
    _check_seed(seed)
    monitor = Path(monitor) if isinstance(monitor, str) else monitor
    _check_origin(of, monitor)
    if of == "mistakes":
        from stoic.cases.wrong import wrong_inputs

        return wrong_inputs(case, count, seed)
    if of == "faults":
        from stoic.cases.struck import struck_inputs

        return struck_inputs(case, count, seed)
    from stoic.cases.alarmed import alarmed_inputs

    assert monitor is not None
    return alarmed_inputs(case.after(first), monitor, of, count, seed, first=first)


def _check_seed(seed: int) -> None:
    # Twice as many are known to UMAP and K-means: room for runs under those after it.
    if not 0 <= seed < 2**31:
        raise CaseError(f"seed must be in 0..{2**31 - 1}, got {seed}; take another")


def _check_origin(of: str, monitor: Path | None) -> None:
    if of not in get_args(Origin):
        raise ValueError(
            f"failures must be of one of {', '.join(get_args(Origin))}, got {of!r}"
        )
    alarms = of in ("false-alarms", "misses")
    if alarms and monitor is None:
        raise ValueError(
            f"{of} must be those of a monitor, got none; give --monitor FILE, "
            "that 'stoic monitor fit' has saved"
        )
    if monitor is not None and not alarms:
        raise ValueError(
            f"monitor must be for false-alarms or misses, got one for {of}; "
            "leave it out, or ask for these"
        )


def _known(of: str, monitor: Path | None) -> int:
    """Return how many inputs a monitor was fitted with."""
    _check_origin(of, monitor)
    if monitor is None:
        return 0
    from stoic.monitors.monitor import Monitor

    return int(Monitor.load(monitor).about.get("inputs", 0))


def _beyond(name: str, first: int, most: int) -> int:
    """Return how many inputs to load so that enough come after the first ones."""
    if most and first >= most:
        raise CaseError(
            f"{name} must have inputs that the monitor does not know, got {most}, with "
            f"all of which it was fitted; fit it with fewer: --inputs {most // 2}"
        )
    return min(first + _TRIED, most or first + _TRIED)
