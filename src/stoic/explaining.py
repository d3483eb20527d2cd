"""Explaining: from failures to clusters of them, and what a person needs to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.causes.clusterings import CLUSTERINGS, HUDD
from stoic.causes.describing import Described, described
from stoic.causes.failures import UNKNOWN, Inquiry
from stoic.causes.grid import Grid, Outcome, crossed
from stoic.causes.pipeline import (
    NOISE,
    Clustering,
    Clusters,
    Features,
    Pipeline,
    Reduction,
)
from stoic.causes.reductions import REDUCTIONS
from stoic.causes.scores import PURE, Baseline, Scores, baseline, score
from stoic.causes.scores.inspection import Inspection, in_turn
from stoic.causes.scores.stability import Stability
from stoic.causes.sheets import heated, pictured, source
from stoic.causes.steadiness import steadiness
from stoic.causes.typical import Looks, looks
from stoic.extracting import ELEVEN, extractor_of, extractors

__all__ = [
    "ELEVEN",
    "Explained",
    "again",
    "all_pipelines",
    "compare",
    "explain",
    "explained",
    "extractors",
    "pipeline_of",
    "ranked",
    "row_of",
    "stages",
]

_SHOWN = 12


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
            "stability": [each.as_record() for each in self.stability],
        }

    def as_page(self, case: str, *, heat: bool = True) -> dict[str, Any]:
        """Return what the page shows, images included.

        Args:
            case: What was asked about.
            heat: Whether heat maps are laid over images, where the network has them.
        """
        shown = self.as_record() | {"case": case}
        sheets = [(look.typical, look.borderline) for look in self.looks]
        noise = np.flatnonzero(self.clusters.labels == NOISE)[:_SHOWN]
        every = np.concatenate([*(part for both in sheets for part in both), noise])
        heats, problem = self._heats(every) if heat and len(every) else ({}, "")
        for own, (typical, borderline) in zip(shown["clusters"], sheets, strict=True):
            own["typical"] = self._images(typical, heats)
            own["borderline"] = self._images(borderline, heats)
        shown |= {"noise shown": self._images(noise, heats)}
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
            # What a former run has left is no cluster of this one.
            for old in folder.glob("cluster-*.txt"):
                old.unlink()
            files = [folder / _list_name(number) for number in numbers]
            for number, file in zip(numbers, files, strict=True):
                write_whole(file, "".join(f"{name}\n" for name in self.names(number)))
        return files

    def _told(self, cluster: int) -> dict[str, Any]:
        failures, members = self.inquiry.failures, self.clusters.members(cluster)
        known = failures.scenarios
        return {
            "size": len(members),
            "rule": self.rules[cluster].as_record(),
            "labels": _counted(self._classes(failures.labels[members])),
            "predicted": _counted(self._classes(failures.predicted[members])),
            "scenarios": [] if known is None else _counted(known[members].tolist()),
        }

    def _classes(self, numbers: NDArray[np.int64]) -> list[str]:
        names = self.inquiry.classes
        return [names[n] if n < len(names) else str(n) for n in numbers.tolist()]

    def _heats(self, places: NDArray[np.int64]) -> tuple[dict[int, str], str]:
        """Return heat maps by place, or why there are none."""
        try:
            maps = heated(self.inquiry, places)
        except ValueError as error:
            return {}, str(error).splitlines()[0]
        return dict(zip(places.tolist(), map(source, maps), strict=True)), ""

    def _images(
        self, places: NDArray[np.int64], heats: Mapping[int, str]
    ) -> list[dict[str, str]]:
        failures = self.inquiry.failures.rows(places)
        pictures = pictured(self.inquiry, places)
        labels = self._classes(failures.labels)
        predicted = self._classes(failures.predicted)
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


def all_pipelines(*more: str) -> tuple[Pipeline, ...]:
    """Return the 99: eleven extractors, three reductions, three clusterings.

    Args:
        *more: Names of further extractors, each with nine pipelines.
    """
    chosen = [*extractors().values()][:ELEVEN] + [extractor_of(name) for name in more]
    return crossed(chosen, REDUCTIONS, CLUSTERINGS)


def stages() -> tuple[Mapping[str, Reduction], Mapping[str, Clustering]]:
    """Return all reductions and clusterings by name."""
    clusterings: list[Clustering] = [*CLUSTERINGS, HUDD]
    return (
        {each.name: each for each in REDUCTIONS},
        {each.name: each for each in clusterings},
    )


def pipeline_of(
    extractor: str = "layers", reduction: str = "UMAP", clustering: str = "HDBSCAN"
) -> Pipeline:
    """Return a pipeline by the names of its stages.

    Raises:
        ValueError: There is no such stage.
    """
    reductions, clusterings = stages()
    return Pipeline(
        extractor_of(extractor),
        _named("reduction", reduction, reductions),
        _named("clustering", clustering, clusterings),
    )


def ranked(outcomes: Sequence[Outcome], inquiry: Inquiry) -> list[Outcome]:
    """Return what has succeeded, the best first.

    Where causes are known the best has the largest product of purity and coverage at
    90 %; elsewhere it is the most valid by silhouette and DBCV, which says little
    across features.
    """
    done = [each for each in outcomes if each.clusters is not None]
    known = _known(inquiry)

    def worth(outcome: Outcome) -> float:
        clusters = outcome.clusters
        assert clusters is not None
        if known is None:
            return float(clusters.chosen["validity"])
        found = score(clusters, known, parts=True)
        return (found.purity or 0.0) * found.coverage[PURE]

    return sorted(done, key=worth, reverse=True)


def row_of(outcome: Outcome, inquiry: Inquiry) -> dict[str, str]:
    """Return what a table says of one pipeline."""
    row = {"pipeline": outcome.pipeline.name}
    if outcome.clusters is None:
        return row | {"clusters": outcome.problem}
    clusters, known = outcome.clusters, _known(inquiry)
    row |= {
        "clusters": str(clusters.count),
        "noise": f"{(clusters.labels == NOISE).mean():.1%}",
        "validity": f"{float(clusters.chosen['validity']):.2f}",
    }
    if known is None:
        return row
    found = score(clusters, known, parts=True)
    return row | {
        "purity": f"{found.purity or 0:.1%}",
        "coverage": f"{found.coverage[PURE]:.1%}",
        "information": f"{found.information or 0:.2f}",
    }


def _known(inquiry: Inquiry) -> NDArray[np.str_] | None:
    known = inquiry.failures.scenarios
    return known if known is not None and (known != UNKNOWN).any() else None


def _named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"{kind} must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def explain(
    inquiry: Inquiry,
    pipeline: Pipeline | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Explained:
    """Find clusters of failures that look alike.

    Args:
        inquiry: A network with failures, such as `stoic.failing` finds.
        pipeline: How; features of all layers, UMAP and HDBSCAN by default.
        seed: Of what is left to chance.
        progress: Told of stages done, and how many there are.

    Raises:
        ValueError: There are too few failures, or all look the same.
    """
    chosen = pipeline or pipeline_of()
    told = progress or (lambda done, of: None)
    told(0, 3)
    features = chosen.extractor(inquiry, seed)
    told(1, 3)
    points = chosen.reduction(features, seed)
    told(2, 3)
    clusters = chosen.clustering(points, seed)
    told(3, 3)
    return explained(inquiry, chosen, seed, points, clusters)


def again(
    found: Explained,
    runs: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Explained:
    """Return clusters with whether they come again.

    Args:
        found: What `explain` has found.
        runs: Other seeds, and bootstrap samples of the failures; at least 2. All takes
            twice as many runs of the pipeline, and one.
        progress: Told of runs done, and how many there are.

    Raises:
        ValueError: There are too few runs to compare, or a sample is too small.
    """
    told = progress or (lambda done, of: None)
    given = found.inquiry, found.pipeline, found.seed
    return replace(found, stability=steadiness(*given, runs, told))


def compare(
    inquiry: Inquiry,
    pipelines: Sequence[Pipeline] | None = None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Yield what each of many pipelines finds; what they share is made once.

    Args:
        inquiry: A network with failures.
        pipelines: All 99 by default.
        seed: Of what is left to chance.
        folder: Where stages are kept: after ``kill -9`` a run goes on from there.
        processes: That work at the same time, each on one core.
        progress: Told of stages done, and how many there are.
    """
    grid = Grid(tuple(pipelines or all_pipelines()))
    return grid.run(
        inquiry, seed, folder=folder, processes=processes, progress=progress
    )


def explained(
    inquiry: Inquiry,
    pipeline: Pipeline,
    seed: int,
    points: Features,
    clusters: Clusters,
) -> Explained:
    """Return clusters with what a person needs to see of them."""
    known = _known(inquiry)
    return Explained(
        inquiry=inquiry,
        pipeline=pipeline,
        seed=seed,
        points=points,
        clusters=clusters,
        looks=looks(clusters, points),
        rules=described(clusters, inquiry.failures.recorded),
        scores=None if known is None else score(clusters, known, parts=True),
        random=None if known is None else baseline(clusters, known, parts=True),
        inspected=None if known is None else in_turn(clusters, points, known),
    )
