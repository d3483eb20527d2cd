"""Failures of built-in cases, kept by all that decides which they are.

The network is made anew and given the weights that it had. Failures are believed only
if they and the network are what they were, by a digest of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases.catalogue import Entry as Case
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.sources import traced, versions
from stoic.causes.store import Entry, Store, content, digest

__all__ = ["kept_failures"]

Arrays = Mapping[str, NDArray[Any]]

_BESIDE = ("*.safetensors", "*.png")
_TABLES = ("recorded", "observed")
_FINDING = frozenset({"stoic.cases.origins"})
"""What finds failures of any case: it imports all of them, and this module."""


def kept_failures(
    folder: Path,
    case: Case,
    asked: tuple[int, int, str, Path | None],
    make: Callable[[], Inquiry],
) -> Inquiry:
    """Return failures that are kept, or make and keep them.

    Args:
        folder: Of what is kept.
        case: Built-in.
        asked: How many, the seed, what they are, and the file of the monitor.
        make: Finds them.
    """
    store, key = Store(folder), _key(case, *asked)
    entry = store.read(key)
    found = None if entry is None else _restored(case, entry)
    if found is None:
        found = make()
        store.write(key, _entry(found))
    return found


def _key(case: Case, count: int, seed: int, of: str, monitor: Path | None) -> str:
    file = "none" if monitor is None else digest(monitor.read_text())
    asked = f"{count} failures of {case.name} from seed {seed}: {of}"
    return digest(asked, file, traced(_FINDING, _BESIDE), versions())


def _entry(found: Inquiry) -> Entry:
    failures, examples = found.failures, found.examples
    arrays: dict[str, NDArray[Any]] = {
        "failures": _plain(failures.images),
        "labels": failures.labels,
        "scores": failures.scores,
        "examples": _plain(examples.images),
        "known": examples.labels,
        "black": _plain(found.black),
        "white": _plain(found.white),
    }
    if failures.scenarios is not None:
        arrays["scenarios"] = failures.scenarios
    notes: dict[str, Any] = {
        "names": failures.names,
        "classes": found.classes,
        "content": content(found),
    }
    tables = {name: getattr(failures, name) for name in _TABLES}
    network = found.network.state_dict()
    tables["network"] = {name: _plain(own) for name, own in network.items()}
    for table, columns in tables.items():
        # By number, as a name may be none of a file.
        notes[table] = list(columns)
        arrays |= {f"{table} {n}": own for n, own in enumerate(columns.values())}
    return Entry(arrays, notes)


def _restored(case: Case, entry: Entry) -> Inquiry | None:
    """Return what was kept; None if it is not what it was."""
    arrays, notes = entry.arrays, entry.notes
    network = case.make(1).network
    try:
        network.load_state_dict(_table(entry, "network", torch.from_numpy))
        found = Inquiry(
            network=network,
            failures=Failures(
                images=torch.from_numpy(arrays["failures"]),
                labels=arrays["labels"],
                scores=arrays["scores"],
                names=tuple(notes["names"]),
                scenarios=arrays.get("scenarios"),
                **{name: _table(entry, name, np.asarray) for name in _TABLES},
            ),
            examples=Examples(torch.from_numpy(arrays["examples"]), arrays["known"]),
            black=torch.from_numpy(arrays["black"]),
            white=torch.from_numpy(arrays["white"]),
            classes=tuple(notes["classes"]),
        )
    # Of another network, or no failures at all.
    except (KeyError, ValueError, RuntimeError):
        return None
    return found if content(found) == notes.get("content") else None


def _table(entry: Entry, name: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    columns = enumerate(entry.notes[name])
    return {own: read(entry.arrays[f"{name} {n}"]) for n, own in columns}


def _plain(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()
