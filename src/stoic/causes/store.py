"""What stages of pipelines have made, kept by what it was made of.

An entry is named by a digest of the stage with all its settings, of the sources that
make it, of what it was given, of the seed and of the versions of what computes. So it
never is out of date: whatever changes has another name. An entry is written under a
name of its own and renamed when it is whole, so that a killed run leaves no half of
one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stoic.causes.failures import Inquiry
from stoic.causes.sources import modules_of, traced, versions

__all__ = ["Entry", "Removed", "Store", "content", "digest", "identity"]

Array: TypeAlias = NDArray[Any]

_KEPT_BY = "stoic.causes.stages"
"""What gives entries their form; a stage imports it not."""

_NOTES = "notes"
_HOUR_S = 3600.0


@dataclass(frozen=True, eq=False)
class Entry:
    """What a stage has made.

    Args:
        arrays: By name.
        notes: What is no array, as plain data.
    """

    arrays: Mapping[str, Array]
    notes: Mapping[str, Any]


class Removed(OSError):
    """What a run has made is no longer there."""


@dataclass(frozen=True)
class Store:
    """A folder of entries; several processes may share it.

    Args:
        folder: Made when something is written.
    """

    folder: Path

    def key(self, stage: object, given: str, seed: int) -> str:
        """Return the name of what a stage makes.

        Args:
            stage: A frozen value whose ``repr`` names all its settings.
            given: Digest of what it is given.
            seed: Of its chance.
        """
        sources = traced(modules_of(stage) | {_KEPT_BY})
        return digest(identity(stage), given, str(seed), sources, versions())

    def read(self, key: str) -> Entry | None:
        """Return an entry; None if there is none, or if it cannot be read."""
        try:
            path = self._path(key)
            # Opened here, as NumPy leaves a file open that it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            notes = json.loads(str(arrays.pop(_NOTES)))
        # A file cut short by a full disk, or anything else by that name.
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return Entry(arrays, notes)

    def held(self, key: str) -> Entry:
        """Return an entry that this run has made or read.

        Raises:
            Removed: It is not there any more.
        """
        entry = self.read(key)
        if entry is None:
            raise self._removed()
        return entry

    def write(self, key: str, entry: Entry) -> None:
        """Keep an entry, whole or not at all.

        Raises:
            Removed: The folder was removed while it was written to.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{key}.{os.getpid()}.part")
        # Numbers of NumPy are plain ones.
        notes = np.array(json.dumps(entry.notes, default=lambda own: own.item()))
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **{**entry.arrays, _NOTES: notes})
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except FileNotFoundError as error:
            raise self._removed() from error

    def tidy(self) -> None:
        """Remove what runs that were killed long ago left half written."""
        for partial in self.folder.glob("*/*.part"):
            try:
                if time.time() - partial.stat().st_mtime > _HOUR_S:
                    partial.unlink()
            # Another process may be tidying, too.
            except FileNotFoundError:
                continue

    def _removed(self) -> Removed:
        return Removed(
            f"{self.folder} must keep what was made until the run ends, got something "
            "removed from it; run it again: it goes on from what is left"
        )

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def identity(stage: object) -> str:
    """Return what tells a stage from all others, over processes and time.

    Raises:
        ValueError: Its ``repr`` tells where it lies in memory.
    """
    kind = type(stage)
    if re.search(r" at 0x[0-9a-f]+>", repr(stage)):
        raise ValueError(
            "a stage must be a value whose repr names all its settings, "
            f"got {stage!r}; make it a frozen dataclass"
        )
    return f"{kind.__module__}.{kind.__qualname__} {stage!r}"


def content(inquiry: Inquiry) -> str:
    """Return a digest of all that features can depend on.

    Names, recorded parameters and scenarios are not part of it.
    """
    asked, examples = inquiry.failures, inquiry.examples
    tensors = {
        **{
            f"network {name}": own for name, own in inquiry.network.state_dict().items()
        },
        "failures": asked.images,
        "examples": examples.images,
        "black": inquiry.black,
        "white": inquiry.white,
    }
    arrays = {name: own.detach().cpu().numpy() for name, own in tensors.items()}
    arrays |= {f"observed {name}": own for name, own in asked.observed.items()}
    arrays |= {"labels": asked.labels, "scores": asked.scores, "known": examples.labels}
    parts = (digest(name, own) for name, own in sorted(arrays.items()))
    return digest(repr(inquiry.network), repr(inquiry.classes), *parts)


def digest(*parts: str | Array) -> str:
    """Return the SHA-256 of texts and arrays, with the shapes of these."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            raw = part.encode()
        else:
            raw = np.ascontiguousarray(part).tobytes()
            total.update(f"{part.dtype.str} {part.shape}:".encode())
        # With lengths, so that no two lists of parts run together alike.
        total.update(f"{len(raw)}:".encode() + raw)
    return total.hexdigest()
