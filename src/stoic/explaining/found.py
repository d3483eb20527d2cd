"""Failures in clusters, and what a person needs to see of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.describing import Described
from stoic.causes.failures import Inquiry
from stoic.causes.looking import seen_after
from stoic.causes.pipeline import NOISE, Clusters, Features, Pipeline
from stoic.causes.scores import Baseline, Scores, needed
from stoic.causes.scores.inspection import Inspection
from stoic.causes.scores.stability import Stability
from stoic.causes.sheets import heated, kept_heat, pictured, source
from stoic.causes.store import Store
from stoic.causes.typical import Looks

__all__ = ["Explained"]

_SHOWN = 12
_FIRST = 24
# Shares of a cause that somebody may fear to miss.
_RARE = (0.005, 0.01, 0.02, 0.05)
_NO_CLASS = "not finite"


@dataclass(frozen=True, eq=False)
class Explained:
    """Failures in clusters.

    Args:
        inquiry: What was asked about.
        pipeline: How the clusters were found.
        seed: Of the pipeline.
        points: That they were found among.
        clusters: One for each failure, or noise.
        looks: Which images of each cluster to look at.
        rules: What the images of each have in common, by recorded parameters.
        scores: Against known causes; None where no cause is known.
        random: The same of random clusters of the same sizes.
        order: The place of each failure, in the order of looking that shows rare
            causes soon.
        inspected: Images to look at until all causes are seen; None as `scores`.
        stability: Whether these clusters come again, if that was asked for.
    """

    inquiry: Inquiry
    pipeline: Pipeline
    seed: int
    points: Features
    clusters: Clusters
    looks: tuple[Looks, ...]
    rules: tuple[Described, ...]
    scores: Scores | None
    random: Baseline | None
    order: NDArray[np.int64]
    inspected: Inspection | None = None
    stability: tuple[Stability, ...] = ()

    @property
    def spared(self) -> tuple[list[str], int]:
        """Classes that the network reads right, none of them ever a failure's own.

        With them comes the number of classes that there are inputs of.
        """
        right, wrong = (
            np.unique(rows.labels)
            for rows in (self.inquiry.examples, self.inquiry.failures)
        )
        return self._classes(np.setdiff1d(right, wrong)), len(np.union1d(right, wrong))

    @property
    def ordered(self) -> list[str]:
        """Names of all images, in the order of looking."""
        return [self.inquiry.failures.names[place] for place in self.order]

    @property
    def seen_after(self) -> int | None:
        """Images in that order until every cause is seen; None as `scores`."""
        known = self.inquiry.failures.scenarios
        if known is None or self.scores is None:
            return None
        return seen_after(self.order, known)

    def names(self, cluster: int) -> list[str]:
        """Return the names of the images of one cluster, or of noise."""
        members = np.flatnonzero(self.clusters.labels == cluster)
        return [self.inquiry.failures.names[place] for place in members]

    def as_record(self) -> dict[str, Any]:
        """Return plain data, without images."""
        failures, (spared, classes) = self.inquiry.failures, self.spared
        known = failures.scenarios
        return {
            "failures": len(failures),
            "known causes": {} if known is None else dict(Counter(known.tolist())),
            "classes": classes,
            "classes without a failure": spared,
            "recorded": sorted(failures.recorded),
            "pipeline": self.pipeline.name,
            "settings": repr(self.pipeline),
            "seed": self.seed,
            "chosen": dict(self.clusters.chosen),
            "clusters": [
                {"images": self.names(cluster)} | self._told(cluster)
                for cluster in range(self.clusters.count)
            ],
            "noise": self.names(NOISE),
            "scores": self.scores.as_record() if self.scores else None,
            "random": self.random.as_record() if self.random else None,
            "inspection": self.inspected.as_record() if self.inspected else None,
            "order": {"images": self.ordered, "all causes after": self.seen_after},
            "to see a cause": [
                needed(self.clusters, share).as_record()
                for share in _RARE
                if share * len(failures) >= 1
            ],
            "stability": [each.as_record() for each in self.stability],
        }

    def as_page(
        self, case: str, *, heat: bool = True, kept: Path | None = None
    ) -> dict[str, Any]:
        """Return what the page shows, images included.

        Args:
            case: What was asked about.
            heat: Whether heat maps are laid over images, where the network has them.
            kept: Folder that they are kept in, to be there the next time.
        """
        shown = self.as_record() | {"case": case}
        sheets = [(look.typical, look.borderline) for look in self.looks]
        noise = np.flatnonzero(self.clusters.labels == NOISE)[:_SHOWN]
        first = self.order[:_FIRST]
        parts = (part for both in sheets for part in both)
        every = np.concatenate([*parts, noise, first])
        heats: dict[int, str]
        heats, problem = ({}, "")
        if heat and len(every):
            heats, problem = self._heats(every, kept)
        for own, (typical, borderline) in zip(shown["clusters"], sheets, strict=True):
            own["typical"] = self._images(typical, heats)
            own["borderline"] = self._images(borderline, heats)
        shown |= {"noise shown": self._images(noise, heats)}
        shown |= {"first": self._images(first, heats)}
        return shown | {"heat": bool(heats), "no heat": problem}

    def save_lists(self, folder: Path) -> list[Path]:
        """Write the names of each cluster's images, one file for each cluster.

        Returns:
            The files: ``cluster-00.txt`` and so on, and ``noise.txt``.
        """
        from stoic.records.files import write_whole, writing

        numbers = [*range(self.clusters.count), NOISE]
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            files = [folder / _list_name(number) for number in numbers]
            for number, file in zip(numbers, files, strict=True):
                write_whole(file, "".join(f"{name}\n" for name in self.names(number)))
            # What a former run has left is no cluster of this one.
            for old in {*folder.glob("cluster-*.txt")} - {*files}:
                old.unlink()
        return files

    def save_order(self, folder: Path) -> Path:
        """Write the names of all images in the order of looking, ``look.txt``."""
        from stoic.records.files import write_whole, writing

        path = folder / "look.txt"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, "".join(f"{name}\n" for name in self.ordered))
        return path

    def _told(self, cluster: int) -> dict[str, Any]:
        failures, members = self.inquiry.failures, self.clusters.members(cluster)
        known = failures.scenarios
        return {
            "size": len(members),
            "rule": self.rules[cluster].as_record(),
            "labels": _counted(self._classes(failures.labels[members])),
            "predicted": _counted(self._read_as(members)),
            "scenarios": [] if known is None else _counted(known[members].tolist()),
        }

    def _classes(self, numbers: NDArray[np.int64]) -> list[str]:
        names = self.inquiry.classes
        return [names[n] if n < len(names) else str(n) for n in numbers.tolist()]

    def _read_as(self, places: NDArray[np.int64]) -> list[str]:
        """Return what the network names: nothing, where scores are not finite."""
        failures = self.inquiry.failures.rows(places)
        names = self._classes(failures.predicted)
        finite = np.isfinite(failures.scores).all(1)
        return [str(own) for own in np.where(finite, names, _NO_CLASS)]

    def _heats(
        self, places: NDArray[np.int64], kept: Path | None
    ) -> tuple[dict[int, str], str]:
        """Return heat maps by place, or why there are none."""
        try:
            if kept is None:
                maps = heated(self.inquiry, places)
            else:
                maps = kept_heat(Store(kept), self.inquiry, places)
        except ValueError as error:
            return {}, str(error).splitlines()[0]
        return dict(zip(places.tolist(), map(source, maps), strict=True)), ""

    def _images(
        self, places: NDArray[np.int64], heats: Mapping[int, str]
    ) -> list[dict[str, str]]:
        failures = self.inquiry.failures.rows(places)
        pictures = pictured(self.inquiry, places)
        labels = self._classes(failures.labels)
        predicted = self._read_as(places)
        columns = zip(places, pictures, failures.names, labels, predicted, strict=True)
        return [
            {
                "source": source(picture),
                "heat": heats.get(int(place), ""),
                "name": name,
                "label": right,
                "predicted": said,
            }
            for place, picture, name, right, said in columns
        ]


def _list_name(number: int) -> str:
    return "noise.txt" if number == NOISE else f"cluster-{number:02d}.txt"


def _counted(names: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(names).most_common(5)
