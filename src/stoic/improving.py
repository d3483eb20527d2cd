"""Improving: what retraining on images that clusters choose gains, beside random ones.

Failures are divided in three: one part is clustered, one is hidden in a pool of images
as they come in from the field, one is what the retrained networks are tried on.

References:
    Attaoui, Fahmy, Pastore and Briand, Black-box safety analysis and retraining of DNNs
    based on feature extraction and clustering, 2023.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST, Clusters, Pipeline
from stoic.causes.retraining import Learning, accuracy, assigned, evenly, retrained

__all__ = ["Gain", "Improved", "improve"]

_PARTS = 3


@dataclass(frozen=True)
class Gain:
    """How good networks are that learnt from images chosen in one way.

    Args:
        chosen: How.
        images: Chosen in each repetition, on average.
        failing: Of these, those that the network had got wrong.
        mended: Share of other failures that are right now, by repetition.
        kept: Share of other fine images that are still right, by repetition.
        names: Of the images chosen that the network had got wrong, by repetition.
    """

    chosen: str
    images: float
    failing: float
    mended: tuple[float, ...]
    kept: tuple[float, ...]
    names: tuple[tuple[str, ...], ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return plain data, without names."""
        return {name: own for name, own in vars(self).items() if name != "names"}


@dataclass(frozen=True)
class Improved:
    """What retraining gains.

    Args:
        gains: By how images were chosen: none, at random, by clusters.
        budget: Images that a person was to label.
        pool: Images to choose among, half of which the network gets wrong.
    """

    gains: tuple[Gain, ...]
    budget: int
    pool: int

    @property
    def advantage(self) -> tuple[float, float, float]:
        """Mended by clusters less mended at random: mean and its 95 % interval.

        By Student's t over repetitions; all failures are of one case. Where repetitions
        do not differ at all, nothing is known: from -1 to 1.
        """
        random, clusters = (np.array(gain.mended) for gain in self.gains[1:])
        return _interval(clusters - random)

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        mean, low, high = self.advantage
        advantage = {"mean": mean, "low": low, "high": high}
        gains = [gain.as_record() for gain in self.gains]
        own = {"gains": gains, "budget": self.budget, "pool": self.pool}
        return own | {"advantage": advantage}

    def save(self, folder: Path, case: str) -> list[Path]:
        """Write what was gained, and which images clusters chose.

        Args:
            folder: Made if it is not there.
            case: What the network is called.

        Returns:
            The files: ``retrain.json``, and ``chosen-0.txt`` and so on, one for each
            repetition, with the names of images that the network had got wrong.
        """
        from stoic.records.files import write_whole, writing

        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            result = folder / "retrain.json"
            told = json.dumps(self.as_record() | {"case": case}, indent=1)
            write_whole(result, f"{told}\n")
            lists = self.gains[-1].names
            files = [folder / f"chosen-{n}.txt" for n in range(len(lists))]
            for file, names in zip(files, lists, strict=True):
                write_whole(file, "".join(f"{name}\n" for name in names))
            for old in {*folder.glob("chosen-*.txt")} - {*files}:
                old.unlink()
        return [result, *files]


def improve(
    inquiry: Inquiry,
    pipeline: Pipeline,
    *,
    budget: int = 100,
    repeats: int = 5,
    learning: Learning | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Improved:
    """Retrain a network on images chosen in three ways, several times.

    All networks see the same examples; what is chosen comes in addition, with its
    label. For none, as many further examples come instead.

    Args:
        inquiry: A network with failures, and examples that it gets right.
        pipeline: That clusters the failures.
        budget: Images that are chosen; fewer if not so many are near to a cluster.
        repeats: With other parts each time; at least 2.
        learning: How networks are trained further.
        seed: Of parts and draws.
        progress: Told of networks trained, and how many there are.

    Raises:
        ValueError: There are too few failures or repetitions, or no cluster.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 for an interval, got {repeats}")
    if budget < 1:
        raise ValueError(f"budget must be at least 1, got {budget}")
    least = _PARTS * 2 * LEAST
    if len(inquiry.examples) < _PARTS * LEAST:
        raise ValueError(
            f"images read right must be at least {_PARTS * LEAST} to learn from and "
            f"be tried on, got {len(inquiry.examples)}; give more of them"
        )
    if len(inquiry.failures) < least:
        raise ValueError(
            f"failures must be at least {least} to be clustered, chosen and tried, "
            f"got {len(inquiry.failures)}; collect more"
        )
    told, how = progress or (lambda done, of: None), learning or Learning()
    found: list[list[_Trained]] = []
    for repeat in range(repeats):
        trial = _Trial.of(inquiry, pipeline, seed + repeat)
        ways = trial.chosen(budget)
        found.append([])
        for name, places in ways.items():
            told(_PARTS * repeat + len(found[-1]), _PARTS * repeats)
            found[-1].append(trial.trained(name, places, how))
    told(_PARTS * repeats, _PARTS * repeats)
    pool = len(trial.pool)
    return Improved(tuple(map(_gain, zip(*found, strict=True))), budget, pool)


@dataclass(frozen=True)
class _Trained:
    chosen: str
    images: int
    failing: int
    mended: float
    kept: float
    names: tuple[str, ...]


def _gain(trained: tuple[_Trained, ...]) -> Gain:
    return Gain(
        chosen=trained[0].chosen,
        images=float(np.mean([each.images for each in trained])),
        failing=float(np.mean([each.failing for each in trained])),
        mended=tuple(each.mended for each in trained),
        kept=tuple(each.kept for each in trained),
        names=tuple(each.names for each in trained),
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """One way to divide failures and examples.

    Args:
        inquiry: All of them.
        seed: Of this trial.
        clusters: Of the pool: the cluster of the failures that each image is near.
        pool: Images to choose from: failures first, then as many examples.
        failing: How many of the pool are failures.
        names: Of these.
        known: Examples to learn from anyway.
        failures: To be tried on.
        fine: Examples to be tried on.
    """

    inquiry: Inquiry
    seed: int
    clusters: NDArray[np.int64]
    pool: Examples
    failing: int
    names: tuple[str, ...]
    known: Examples
    failures: Failures
    fine: Examples

    @classmethod
    def of(cls, inquiry: Inquiry, pipeline: Pipeline, seed: int) -> _Trial:
        """Divide, and cluster the first part of the failures."""
        chance = np.random.default_rng(seed)
        failures = inquiry.failures
        seen, hidden, last = np.array_split(chance.permutation(len(failures)), _PARTS)
        known, fine, field = np.array_split(
            chance.permutation(len(inquiry.examples)), _PARTS
        )
        field = field[: len(hidden)]
        pool = _joined(_as_examples(failures, hidden), _some(inquiry.examples, field))
        clusters = _clusters(inquiry, failures.rows(seen), pool, pipeline, seed)
        return cls(
            inquiry=inquiry,
            seed=seed,
            clusters=clusters,
            pool=pool,
            failing=len(hidden),
            names=failures.rows(hidden).names,
            known=_some(inquiry.examples, known),
            failures=failures.rows(last),
            fine=_some(inquiry.examples, fine),
        )

    def chosen(self, budget: int) -> dict[str, NDArray[np.int64]]:
        """Return places in the pool by how they are chosen.

        Clusters may have fewer images near them than the budget allows for; then there
        are as few others, so that only the choice makes a difference.
        """
        chance = np.random.default_rng(self.seed)
        drawn = chance.permutation(len(self.pool))
        near = evenly(self.clusters, budget, chance)
        return {
            "none": np.arange(self.failing, len(self.pool))[: len(near)],
            "at random": drawn[: len(near)],
            "by clusters": near,
        }

    def trained(
        self, name: str, places: NDArray[np.int64], learning: Learning
    ) -> _Trained:
        """Return how good a network is that has learnt from some of the pool, too."""
        examples = _joined(self.known, _some(self.pool, places))
        network = retrained(self.inquiry.network, examples, learning, self.seed)
        mended = accuracy(network, self.failures.images, self.failures.labels)
        kept = accuracy(network, self.fine.images, self.fine.labels)
        names = tuple(self.names[place] for place in places if place < self.failing)
        rates = float(mended.mean()), float(kept.mean())
        return _Trained(name, len(places), len(names), *rates, names)


def _clusters(
    inquiry: Inquiry,
    failures: Failures,
    pool: Examples,
    pipeline: Pipeline,
    seed: int,
) -> NDArray[np.int64]:
    """Cluster failures, and return which cluster each image of the pool is near to.

    Raises:
        ValueError: There is no cluster.
    """
    count = len(failures)
    # Both go through the extractor together: what it fits, it fits to both.
    both = Failures(
        images=torch.cat([failures.images, pool.images]),
        labels=np.concatenate([failures.labels, pool.labels]),
        scores=np.zeros((count + len(pool), 1), np.float32),
        names=("",) * (count + len(pool)),
        recorded={},
    )
    features = pipeline.extractor(replace(inquiry, failures=both), seed)
    points = pipeline.reduction(features[:count], seed)
    clusters: Clusters = pipeline.clustering(points, seed)
    if not clusters.count:
        raise ValueError(
            f"{pipeline.name} must find a cluster to choose by, got none among "
            f"{count} failures; take another pipeline or more failures"
        )
    return assigned(features[:count], clusters, features[count:])


def _some(examples: Examples, places: NDArray[np.int64]) -> Examples:
    return Examples(examples.images[places], examples.labels[places])


def _as_examples(failures: Failures, places: NDArray[np.int64]) -> Examples:
    return Examples(failures.images[places], failures.labels[places])


def _joined(first: Examples, second: Examples) -> Examples:
    images = torch.cat([first.images, second.images])
    return Examples(images, np.concatenate([first.labels, second.labels]))


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5)
    # Repetitions that are all alike do not tell how far others may differ.
    if not half:
        return mean, -1.0, 1.0
    return mean, mean - half, mean + half
