"""Inputs of a case that a monitor was not fitted with: those after the first ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoic.cases.case import Case

__all__ = ["with_inputs_after"]


def with_inputs_after(start: int, inputs: int, case: str, file: Path) -> Case:
    """Return a case with so many inputs after the first ones.

    Args:
        start: How many come before.
        inputs: How many follow.
        case: Name of it.
        file: Of the monitor that these inputs are for.

    Raises:
        ValueError: The monitor is of another network, or there are not so many inputs.
    """
    from stoic.cases import load

    try:
        return load(case, start + inputs)
    except ValueError:
        _check_network(case, file)
        _check_left(start, inputs, case)
        raise


def _check_network(case: str, file: Path) -> None:
    """Refuse a monitor of another network, whatever there is of inputs."""
    from stoic.campaign.fingerprint import network_fingerprint
    from stoic.cases import load
    from stoic.monitors.monitor import Monitor

    Monitor.load(file, network_fingerprint(load(case, 1).network))


def _check_left(start: int, inputs: int, case: str) -> None:
    left = _count(case) - start
    if start and left < 1:
        raise ValueError(
            f"{case} must have inputs that the monitor does not know, got "
            f"{start + left} of which {start} come before the first; fit with fewer, "
            "or see --first of 'stoic monitor run'"
        )
    if inputs > left:
        before = f", as {start} come before the first" if start else ""
        raise ValueError(
            f"inputs must be in 1..{left} for the case {case}{before}, got {inputs}; "
            f"add --inputs {left}"
        )


def _count(case: str) -> int:
    """Return how many inputs a case has."""
    from stoic.cases import catalogue, load

    most = {entry.name: entry.most for entry in catalogue()}.get(case)
    return most or len(load(case))
