"""Kinds of faults by name: what can be done to memory and to inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoic.faults.models import model_name, named_model
from stoic.monitors.corruptions import BY_NAME, CORRUPTIONS
from stoic.monitors.traces import MEMORY

__all__ = ["KINDS", "LEARNT", "check_faults", "check_kinds", "check_names"]

KINDS = (MEMORY, *BY_NAME)
LEARNT = (MEMORY, *(kind.name for kind in CORRUPTIONS))
"""Kinds that monitors learn unless they are told otherwise."""


def check_names(name: str, names: Any, todo: str) -> None:
    """Refuse what is no sequence of different texts.

    Args:
        name: Of the setting.
        names: What was given.
        todo: What to do.

    Raises:
        ValueError: Naming the setting.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(
            f"{name} must be names in a tuple, got {names!r}; "
            f"write ({names!r},) for one, or {todo}"
        )
    seen: set[str] = set()
    for each in names:
        if not isinstance(each, str) or not each:
            raise ValueError(f"{name} must be names, got {each!r}; {todo}")
        if each in seen:
            raise ValueError(
                f"{name} must be named once each, got {each!r} twice; leave one out"
            )
        seen.add(each)


def check_kinds(kinds: Any) -> None:
    """Refuse what names no kinds of faults, or one twice.

    Raises:
        ValueError: Naming the kind.
    """
    todo = f"choose among {', '.join(KINDS)}"
    check_names("kinds", kinds, todo)
    if not kinds:
        raise ValueError(f"kinds must be at least 1, got none; {todo}")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds must be known, got {kind!r}; {todo}")


def check_faults(faults: Any) -> None:
    """Refuse what names no fault models, or one twice.

    Raises:
        ValueError: Naming the fault.
    """
    todo = "choose among flip, flips:K, burst:K, stuck-at-0, stuck-at-1, random"
    check_names("faults", faults, todo)
    if not faults:
        raise ValueError(f"faults must be at least 1, got none; {todo}")
    try:
        names = [model_name(named_model(text)) for text in faults]
    except ValueError as error:
        raise ValueError(f"faults must be known: {error}; write flips:2") from None
    check_names("faults", names, todo)
