"""Names that a person has given to clusters, kept beside their page.

A name belongs to the images of its cluster, not to its number: where failures are
clustered anew, it goes to the cluster that shares more than half of all images of both.
There is at most one such cluster. Names without one are kept and told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.causes import write_causes_report

__all__ = ["Note", "named", "note", "read_notes", "write_page"]

Record: TypeAlias = Mapping[str, Any]

PAGE, SHOWN, NOTES = "causes.html", "causes.json", "notes.json"


@dataclass(frozen=True)
class Note:
    """A name, and the images of the cluster that it was given to."""

    name: str
    images: tuple[str, ...]

    def fits(self, images: Sequence[str]) -> bool:
        """Say whether a cluster of these images is the one that was named."""
        own, other = set(self.images), set(images)
        return 2 * len(own & other) > len(own | other)


def read_notes(folder: Path) -> tuple[Note, ...]:
    """Return the names that were given to clusters in a folder; none if there are none.

    Raises:
        ValueError: The file of names cannot be read.
    """
    file = folder / NOTES
    if not file.is_file():
        return ()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Note(str(own["name"]), tuple(own["images"])) for own in found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} must hold names of clusters as 'stoic causes note' writes them, "
            f"got {type(error).__name__}; mend or remove it"
        ) from error


def named(told: Record, notes: Sequence[Note]) -> dict[str, Any]:
    """Return a record of clusters with their names.

    Args:
        told: What `stoic.explaining.Explained.as_record` or ``as_page`` returns.
        notes: As they were read.
    """
    found = [_fitting(notes, own["images"]) for own in told["clusters"]]
    clusters = [
        {**own, "name": note.name if note else ""}
        for own, note in zip(told["clusters"], found, strict=True)
    ]
    lost = [own.name for own in notes if own not in found]
    return {**told, "clusters": clusters, "names without a cluster": lost}


def _fitting(notes: Sequence[Note], images: Sequence[str]) -> Note | None:
    """Return the note of a cluster: the last one that was given, if several fit."""
    return next((own for own in reversed(notes) if own.fits(images)), None)


def write_page(told: Record, folder: Path) -> Path:
    """Write the page of clusters, and what it shows, so that it can be made again.

    Args:
        told: As `stoic.report.causes.write_causes_report` takes it.
        folder: With the names that were given, if any.
    """
    with writing(folder, ELSEWHERE):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / SHOWN, json.dumps(told))
    return write_causes_report(named(told, read_notes(folder)), folder / PAGE)


def note(folder: Path, cluster: str, name: str) -> Path:
    """Give a cluster a name, and write its page anew.

    Args:
        folder: Of the page.
        cluster: Its number.
        name: What a person takes for its cause; an empty one takes the name away.

    Raises:
        ValueError: There is no such cluster, or no page.
    """
    told = _shown(folder)
    count = len(told["clusters"])
    if not (cluster.isdecimal() and int(cluster) < count):
        raise ValueError(
            f"cluster must be one of 0..{count - 1} on {folder / PAGE}, got {cluster!r}"
        )
    images = told["clusters"][int(cluster)]["images"]
    notes = [own for own in read_notes(folder) if not own.fits(images)]
    notes += [Note(name.strip(), tuple(images))] if name.strip() else []
    with writing(folder, ELSEWHERE):
        text = json.dumps([asdict(own) for own in notes], indent=1)
        write_whole(folder / NOTES, f"{text}\n")
    return write_causes_report(named(told, notes), folder / PAGE)


def _shown(folder: Path) -> dict[str, Any]:
    """Return what the page of a folder shows.

    Raises:
        ValueError: There is none.
    """
    try:
        told = json.loads((folder / SHOWN).read_text(encoding="utf-8"))
        if not told["clusters"]:
            raise ValueError("no cluster")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} must hold clusters that 'stoic causes CASE --out {folder}' has "
            f"written, got {str(error).splitlines()[0] or 'none'}"
        ) from error
    return dict(told)
