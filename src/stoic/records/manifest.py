"""The manifest of a run: everything that decides which trials it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from stoic.records.files import RunError, write_whole, writing

__all__ = [
    "FORMAT",
    "DataRecord",
    "Manifest",
    "NetworkRecord",
    "SiteRecord",
    "SpaceRecord",
    "StratumRecord",
    "check_same",
    "has_cells",
    "read_manifest",
    "write_manifest",
]

FORMAT = 1

# Readers of JSON other than Python's lose digits of larger numbers.
_EXACT_IN_JSON = 1 << 53

Count = Annotated[
    int,
    PlainSerializer(
        lambda count: count if count < _EXACT_IN_JSON else str(count),
        return_type=int | str,
        when_used="json",
    ),
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkRecord(_Record):
    """The network.

    Args:
        fingerprint: Of its words and structure.
        parameters: Number of its parameter elements.
    """

    name: str
    fingerprint: str
    parameters: int


class DataRecord(_Record):
    """The inputs.

    Args:
        labelled: Whether each input has a class.
        clustered: Whether several inputs may come from one source.
        classes: Names by label.
        rows: Whether labels are of another kind, such as boxes.
    """

    fingerprint: str
    inputs: int
    labelled: bool
    clustered: bool
    classes: list[str] | None = None
    rows: bool = False


class SiteRecord(_Record):
    """A site and its part of the fault space.

    Args:
        component: Path of its module.
        dtype: Its number format.
        shape: Of one row for a value that has rows.
        elements: Words in that shape.
        bits: Width of the word.
        faults: How many faults of the space are here.
        channels: Output channels, each with as many elements as the others.
        order: Depth in the network.
        positions: Bits that the faults touch, each with as many faults as the others;
            nothing where that follows from the space.
        inputs: Inputs whose rows the faults tell apart; 0 where each hits all inputs.
    """

    name: str
    kind: Literal["parameter", "buffer", "activation", "input"]
    component: str
    dtype: str
    shape: list[int]
    elements: int
    bits: int
    faults: Count
    channels: int | None = None
    order: int = 0
    positions: list[int] | None = None
    inputs: int = 0


class SpaceRecord(_Record):
    """The fault space.

    Args:
        scope: What a user would call it.
        bits: Bits that single-bit faults touch, where the word has them; nothing for
            all bits.
    """

    sites: list[SiteRecord]
    fault_model: dict[str, Any]
    scope: str
    size: Count
    bits: list[int] | None = None


class StratumRecord(_Record):
    """A stratum of the plan.

    Args:
        sites: Names of the sites whose faults it holds; nothing for all.
        bits: Of these, only the faults of these bits; nothing for all.
    """

    name: str
    size: Count
    sites: list[str] | None = None
    bits: list[int] | None = None


class Manifest(_Record):
    """What a run is made of.

    Args:
        command: That made the run.
        engine: Settings that the words of the outputs may depend on.
        top_k: How many of the best classes are kept per outcome.
    """

    format: int = FORMAT
    stoic: str
    created: str
    command: list[str]
    network: NetworkRecord
    data: DataRecord
    space: SpaceRecord
    strata: list[StratumRecord]
    plan: dict[str, Any]
    seed: int
    criterion: dict[str, Any]
    mode: Literal["exact", "fast"]
    engine: dict[str, Any]
    versions: dict[str, str]
    top_k: int


_FREE = {"command", "created", "stoic"}
_SHOWN = 12
# Plans whose trials are a fault on one input or a few.
_ON_UNITS = ("adaptive", "preset")


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Make a run folder of a manifest.

    Raises:
        RunError: There is a run already, or no room.
    """
    file = path / "manifest.json"
    if file.exists():
        raise RunError(f"{path} must not hold a run, got {file}; resume it instead")
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        write_whole(file, manifest.model_dump_json(indent=1) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a run folder.

    Raises:
        RunError: There is none, or it has another format.
    """
    file = path / "manifest.json"
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        found = given.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path} must be a run folder, got no readable manifest.json in it"
        ) from error
    if found != FORMAT:
        raise RunError(
            f"format of {file} must be {FORMAT}, got {found}; "
            "use the version of Stoic that wrote it"
        )
    try:
        return Manifest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{where} of {file} must be valid, got {first['msg']}") from None


def has_cells(plan: Mapping[str, Any]) -> bool:
    """Say whether a plan, as recorded, draws units from a table of cells."""
    return plan.get("name") in _ON_UNITS


def check_same(old: Manifest, new: Manifest) -> None:
    """Refuse to go on with a run under another manifest.

    Raises:
        RunError: Naming every field that differs, with both values.
    """
    pairs = _differences(
        "", old.model_dump(exclude=_FREE), new.model_dump(exclude=_FREE)
    )
    found = [f"{name} ({_short(a)} there, {_short(b)} here)" for name, a, b in pairs]
    # Entries of lists last: there can be many, and they tell less.
    found.sort(key=lambda text: "[" in text.partition(" (")[0])
    if found:
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise RunError(
            "campaign must be the one that the run folder holds, got another "
            f"{', '.join(found[:_SHOWN] + more)}; choose another folder"
        )


def _differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(inner, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) != len(new):
        yield f"number of {name}", len(old), len(new)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{name}[{index}]", a, b)
    elif old != new:
        yield name, old, new


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
