"""Stages of pipelines, each made once and then read from the store.

Whatever runs a stage gives it one thread: sums over several threads may differ in their
last bits, and clusters with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import (
    Choosing,
    Clustering,
    Clusters,
    Extractor,
    Features,
    Reduction,
)
from stoic.causes.store import Entry, Removed, Store, digest

__all__ = ["Made", "cluster", "extract", "found", "reduce", "table"]

_TABLE = "table"


@dataclass(frozen=True)
class Made:
    """What came of a stage.

    Args:
        key: Its entry in the store.
        content: Digest of its table, for the stages after it.
        seconds: That it took when it was made.
        problem: The stage that has raised, and what it said, in one line; empty if
            none has.
    """

    key: str
    content: str = ""
    seconds: float = 0.0
    problem: str = ""


def extract(
    store: Store, extractor: Extractor, inquiry: Inquiry, given: str, seed: int
) -> Made:
    """Make features of failures.

    Args:
        store: Where they are kept.
        extractor: What makes them.
        inquiry: Of which failures.
        given: Its content.
        seed: Of chance.
    """

    def make() -> Entry:
        return _one(_rows(extractor(inquiry, seed), inquiry))

    return _made(store, extractor, given, seed, make)


def reduce(store: Store, reduction: Reduction, features: Made, seed: int) -> Made:
    """Make points of features."""

    def make() -> Entry:
        return _one(reduction(table(store, features), seed))

    return _made(store, reduction, features.content, seed, make)


def cluster(store: Store, clustering: Clustering, points: Made, seed: int) -> Made:
    """Make clusters of points: all candidates, and the one that is chosen."""

    def make() -> Entry:
        where = table(store, points)
        if not isinstance(clustering, Choosing):
            return _many([clustering(where, seed)])
        candidates = clustering.candidates(where, seed)
        return _many([clustering.choose(candidates), *candidates])

    return _made(store, clustering, points.content, seed, make)


def table(store: Store, made: Made) -> Features:
    """Return the features or points that a stage has made.

    Raises:
        Removed: They are not there any more.
    """
    return np.asarray(store.held(made.key).arrays[_TABLE], np.float32)


def found(store: Store, made: Made) -> tuple[Clusters, tuple[Clusters, ...]]:
    """Return the chosen clusters and all candidates.

    Raises:
        Removed: They are not there any more.
    """
    entry = store.held(made.key)
    several = zip(entry.arrays["labels"], entry.notes["chosen"], strict=True)
    chosen, *rest = (Clusters(own.astype(np.int64), known) for own, known in several)
    return chosen, tuple(rest)


def _made(
    store: Store,
    stage: Extractor | Reduction | Clustering,
    given: str,
    seed: int,
    make: Callable[[], Entry],
) -> Made:
    key = store.key(stage, given, seed)
    entry = store.read(key)
    if entry is None:
        start = time.perf_counter()
        try:
            with _alone():
                entry = make()
        except Removed:
            raise
        # Whatever a stage raises is news of its pipelines, not the end of the grid.
        except Exception as error:
            # What refuses with a rule says all in its message.
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            line = " ".join(str(error).split()) or "no message"
            return Made(key, problem=f"{stage.name}: {kind}{line}")
        spent = time.perf_counter() - start
        entry = Entry(entry.arrays, {**entry.notes, "seconds": spent})
        store.write(key, entry)
    parts = (entry.arrays[name] for name in sorted(entry.arrays))
    return Made(key, digest(*parts), float(entry.notes["seconds"]))


@contextmanager
def _alone() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _rows(features: Features, inquiry: Inquiry) -> Features:
    if len(features) != len(inquiry.failures):
        raise ValueError(
            f"features must have a row for each of the {len(inquiry.failures)} "
            f"failures, got {len(features)}"
        )
    return features


def _one(made: Features) -> Entry:
    return Entry({_TABLE: np.asarray(made, np.float32)}, {})


def _many(several: list[Clusters]) -> Entry:
    labels = np.stack([each.labels for each in several]).astype(np.int32)
    return Entry(
        {"labels": labels}, {"chosen": [dict(each.chosen) for each in several]}
    )
