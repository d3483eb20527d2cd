"""Words of the command line as values; what they cannot be is said in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoic.cases import Case
    from stoic.study import Settings

__all__ = [
    "check_share",
    "each_named",
    "norm_of",
    "settings",
    "share_of",
    "split",
    "table_names",
]


def check_share(name: str, value: float | None) -> None:
    """Refuse what is no share."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} must be in 0..1, got {value:g}; 0.05 is 5 %")


def share_of(name: str, text: str) -> float:
    """Return the share that a text such as ``99%`` or ``0.99`` names."""
    written = text.strip()
    try:
        number = float(written.removesuffix("%"))
    except ValueError:
        raise ValueError(
            f"{name} must be such as 99% or 0.99, got {text!r}; it is a share"
        ) from None
    return number / 100 if written.endswith("%") else number


def norm_of(text: str) -> float:
    """Return the order of a norm by its name."""
    if text not in ("2", "inf"):
        raise ValueError(f"norm must be 2 or inf, got {text!r}; 2 is a ball, inf a box")
    return math.inf if text == "inf" else 2


def _bytes_of(text: str | None) -> int | None:
    """Return the number of bytes that a text such as ``500M`` names."""
    if text is None:
        return None
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "")
    try:
        return int(float(number) * units.get(unit, 1))
    except (ValueError, OverflowError):
        raise ValueError(
            f"memory must be bytes such as 500M or 2G, got {text!r}"
        ) from None


def _seconds(text: str | None) -> float | None:
    """Return the seconds that a text such as ``10m`` names."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise ValueError(f"time must be such as 90s, 10m or 2h, got {text!r}") from None


def _inputs_per_fault(text: str | None) -> Any:
    """Return a number of inputs, or that it is to be found."""
    if text is None or text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"inputs per fault must be a whole number or auto, got {text!r}"
        ) from None


def _kinds(text: str) -> tuple[Any, ...]:
    """Return the kinds of sites in a comma-separated text."""
    known = ("parameter", "buffer", "activation", "input")
    found = tuple(part.strip() for part in text.split(","))
    for kind in found:
        if kind not in known:
            raise ValueError(f"kind must be one of {', '.join(known)}, got {kind!r}")
    return found


def _model(text: str) -> Any:
    """Return the fault model that a text names."""
    from stoic.faults.models import named_model

    return named_model(text)


def _several(count: int | None, rate: float | None) -> Any:
    """Return how many faults strike together, if more than one may."""
    from stoic.campaign.campaign import Several

    return None if count is None and rate is None else Several(count, rate)


def _allocation(text: str | None) -> dict[str, Any] | None:
    """Return faults by stratum, from ``NAME=COUNT,...`` or the name of a JSON file."""
    if text is None:
        return None
    if "=" not in text or text.endswith(".json"):
        return _allocation_in(Path(text))
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, count = (word.strip() for word in part.rpartition("="))
        if not name or not count.isdecimal() or name in found:
            raise ValueError(
                "allocation must be NAME=COUNT once for each stratum, separated by "
                f"commas, or a JSON file of them, got {part!r}"
            )
        found[name] = int(count)
    return found


def _allocation_in(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ValueError(
            "allocation must be NAME=COUNT,... or a readable JSON file, got "
            f"{str(file)!r} ({said})"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(
            f"allocation in {file} must be an object of counts by name, "
            f"got {type(found).__name__}"
        )
    return found


def settings(words: Mapping[str, Any], case: Case) -> Settings:
    """Return the settings that the options of the command ask for, by their names."""
    from stoic.study import Settings

    return Settings(
        sites=words["sites"],
        exclude=words["exclude"],
        kinds=_kinds(words["kind"]),
        bits=words["bits"],
        model=_model(words["fault_model"]),
        several=_several(words["per_trial"], words["rate"]),
        scope=words["scope"].value,
        faults=None if words["exhaustive"] else words["faults"],
        replacement=words["replacement"],
        strata=words["strata"].value,
        allocation=_allocation(words["allocation"]),
        margin=words["margin"],
        data_aware=words["data_aware"],
        seed=words["seed"],
        criterion=words["criterion"] or case.criterion,
        mode=words["mode"].value,
        batch=words["batch"],
        limit_s=words["time_limit"],
        captured=not words["slow_path"],
        as_deployed=words["as_deployed"],
        best=words["best"],
        memory=_bytes_of(words["memory"]),
        half_width=words["half_width"],
        relative=words["relative"],
        seconds=_seconds(words["time"]),
        interval=words["interval"].value,
        inputs_per_fault=_inputs_per_fault(words["inputs_per_fault"]),
        at_most=words["at_most"],
        plan=words["plan"].value if words["plan"] else None,
    )


def table_names(
    chosen: Sequence[str] | None, settings: Settings, case: Case, about: Any
) -> list[str]:
    """Return the names of tables; they are checked before the campaign runs.

    Raises:
        ValueError: There is no such table, or not for this campaign.
    """
    from stoic.campaign.checks import class_labels
    from stoic.estimates import check_table

    model = {**settings.model.as_record(), "several": settings.several}
    labelled = class_labels(case.labels) is not None
    names = split(chosen)
    for name in names:
        check_table(
            name,
            model=model,
            labelled=labelled,
            rows=case.labels is not None and not labelled,
            about=about,
            on_units=settings.on_units,
        )
    return names


def split(chosen: Sequence[str] | None) -> list[str]:
    """Return names that were given one by one or with commas, each once."""
    names = [name.strip() for text in chosen or () for name in text.split(",")]
    return list(dict.fromkeys(names))


def each_named(text: str) -> tuple[str, ...]:
    """Return all names in a text with commas; of an empty one, none."""
    return tuple(name.strip() for name in text.split(",")) if text.strip() else ()
