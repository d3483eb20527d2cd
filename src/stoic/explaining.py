"""Explaining: from failures to clusters of them, and what a person needs to see."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
from stoic.causes.typical import Looks, looks
from stoic.extracting import ELEVEN, extractor_of, extractors

__all__ = [
    "ELEVEN",
    "Explained",
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

    def names(self, cluster: int) -> list[str]:
        """Return the names of the images of one cluster, or of noise."""
        members = np.flatnonzero(self.clusters.labels == cluster)
        return [self.inquiry.failures.names[place] for place in members]

    def as_record(self) -> dict[str, Any]:
        """Return plain data, without images."""
        failures = self.inquiry.failures
        return {
            "failures": len(failures),
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
        }

    def as_page(self, case: str) -> dict[str, Any]:
        """Return what the page shows, images included."""
        shown = self.as_record() | {"case": case}
        for cluster, own in enumerate(shown["clusters"]):
            own["typical"] = self._images(self.looks[cluster].typical)
            own["borderline"] = self._images(self.looks[cluster].borderline)
        noise = np.flatnonzero(self.clusters.labels == NOISE)[:_SHOWN]
        return shown | {"noise shown": self._images(noise)}

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

    def _images(self, places: NDArray[np.int64]) -> list[dict[str, str]]:
        failures = self.inquiry.failures.rows(places)
        pictures = self.inquiry.pictures(failures.images)
        labels = self._classes(failures.labels)
        predicted = self._classes(failures.predicted)
        return [
            {"source": _source(each), "name": name, "label": right, "predicted": said}
            for each, name, right, said in zip(
                pictures, failures.names, labels, predicted, strict=True
            )
        ]


def _list_name(number: int) -> str:
    return "noise.txt" if number == NOISE else f"cluster-{number:02d}.txt"


def _counted(names: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(names).most_common(5)


def _source(picture: Tensor) -> str:
    """Return a picture as a PNG that a page can hold."""
    from PIL import Image

    pixels = (255 * picture).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def all_pipelines() -> tuple[Pipeline, ...]:
    """Return the 99: eleven extractors, three reductions, three clusterings."""
    return crossed(list(extractors().values())[:ELEVEN], REDUCTIONS, CLUSTERINGS)


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
    )
