"""Grids: many pipelines at once, with every stage that they share made once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from stoic.causes import stages
from stoic.causes.failures import Inquiry
from stoic.causes.pipeline import (
    Clustering,
    Clusters,
    Extractor,
    Features,
    Pipeline,
    Reduction,
)
from stoic.causes.stages import Made
from stoic.causes.store import Removed, Store, content, identity
from stoic.causes.workers import Workers, working

__all__ = ["Grid", "GridError", "Outcome", "Progress", "crossed"]

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many stages are made, and of how many."""

Stage: TypeAlias = Extractor | Reduction | Clustering

Steps: TypeAlias = tuple[str, ...]
"""What tells a stage of a pipeline and all before it from others."""


class GridError(RuntimeError):
    """The grid cannot go on."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one pipeline.

    Args:
        pipeline: Which.
        clusters: What it has found; None if a stage has raised.
        candidates: What its clustering chose among; empty if it chooses nothing.
        points: What was clustered; None if a stage has raised.
        seconds: That extraction, reduction and clustering took when they were made,
            shared ones in full.
        problem: The stage that has raised, and what it said; empty if none has.
    """

    pipeline: Pipeline
    clusters: Clusters | None
    candidates: tuple[Clusters, ...] = ()
    points: Features | None = None
    seconds: tuple[float, ...] = ()
    problem: str = ""


def crossed(
    extractors: Sequence[Extractor],
    reductions: Sequence[Reduction],
    clusterings: Sequence[Clustering],
) -> tuple[Pipeline, ...]:
    """Return every way from an extractor by a reduction to a clustering."""
    return tuple(
        Pipeline(extractor, reduction, clustering)
        for extractor in extractors
        for reduction in reductions
        for clustering in clusterings
    )


@dataclass(frozen=True)
class Grid:
    """Pipelines to run on the same failures.

    Args:
        pipelines: In the order in which their outcomes come.
    """

    pipelines: tuple[Pipeline, ...]

    def __post_init__(self) -> None:
        if not self.pipelines:
            raise ValueError("pipelines must be at least one, got none")
        for pipeline in self.pipelines:
            _steps(pipeline)

    def run(
        self,
        inquiry: Inquiry,
        seed: int,
        *,
        folder: Path | None = None,
        processes: int = 1,
        progress: Progress | None = None,
        strict: bool = False,
    ) -> Iterator[Outcome]:
        """Yield the outcome of each pipeline, in order, as soon as it is known.

        The clusters are the same whatever the number of processes.

        Args:
            inquiry: The failures, and the network that they are of.
            seed: Of all chance.
            folder: Where stages are kept, so that another run need not make them
                again; None keeps nothing.
            processes: That work at the same time, each on one core; 1 is this one.
            progress: Told how many stages are made.
            strict: Whether the first stage that raises ends the run.

        Raises:
            GridError: A process has died, or the folder was removed; or, if
                ``strict``, a stage has raised.
        """
        if processes < 1:
            raise ValueError(f"processes must be at least 1, got {processes}")
        with _kept(folder) as store, working(processes) as workers:
            run = _Run(_plan(self.pipelines), inquiry, seed, store, workers)
            try:
                yield from run.outcomes(self.pipelines, progress or _silent, strict)
            except Removed as error:
                raise GridError(str(error)) from error


@dataclass(frozen=True, eq=False)
class _Step:
    """A stage in its place, and those that follow on it."""

    stage: Stage
    following: list[Steps] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run of a grid: what is being made, and what has been."""

    plan: Mapping[Steps, _Step]
    inquiry: Inquiry
    seed: int
    store: Store
    workers: Workers
    made: dict[Steps, Made] = field(default_factory=dict)
    making: dict[Future[Made], Steps] = field(default_factory=dict)

    def outcomes(
        self, pipelines: Sequence[Pipeline], progress: Progress, strict: bool
    ) -> Iterator[Outcome]:
        """Make all stages, and yield outcomes in order."""
        given = content(self.inquiry)
        for steps in self.plan:
            if len(steps) == 1:
                self._start(steps, stages.extract, self.inquiry, given)
        points: dict[str, Features] = {}
        for pipeline in pipelines:
            while _steps(pipeline) not in self.made:
                progress(len(self.made), len(self.plan))
                self._advance(strict)
            yield self._outcome(pipeline, points)
        progress(len(self.made), len(self.plan))

    def _advance(self, strict: bool) -> None:
        """Wait until a stage is made, and start what follows on it."""
        for future in self.workers.some(self.making):
            steps = self.making.pop(future)
            try:
                made = future.result()
            except BrokenProcessPool as error:
                raise GridError(
                    "processes must live until the grid is done, got one that has "
                    "died, perhaps for want of memory; run it again with fewer: what "
                    "is in the folder need not be made again"
                ) from error
            if made.problem and strict:
                raise GridError(made.problem)
            self._take(steps, made)

    def _take(self, steps: Steps, made: Made) -> None:
        self.made[steps] = made
        for more in self.plan[steps].following:
            if made.problem:
                self._take(more, made)
            else:
                make = stages.reduce if len(more) == 2 else stages.cluster
                self._start(more, make, made)

    def _start(self, steps: Steps, make: Callable[..., Made], *given: object) -> None:
        stage = self.plan[steps].stage
        future = self.workers.submit(make, self.store, stage, *given, self.seed)
        self.making[future] = steps

    def _outcome(self, pipeline: Pipeline, points: dict[str, Features]) -> Outcome:
        """Read an outcome; pipelines in a row that share points share the array."""
        steps = _steps(pipeline)
        made = [self.made[steps[:depth]] for depth in (1, 2, 3)]
        if made[-1].problem:
            return Outcome(pipeline, None, problem=made[-1].problem)
        clusters, candidates = stages.found(self.store, made[2])
        if made[1].key not in points:
            points.clear()
            points[made[1].key] = stages.table(self.store, made[1])
        seconds = tuple(each.seconds for each in made)
        return Outcome(pipeline, clusters, candidates, points[made[1].key], seconds)


def _plan(pipelines: Sequence[Pipeline]) -> Mapping[Steps, _Step]:
    """Return each stage once, by what it and those before it are."""
    plan: dict[Steps, _Step] = {}
    for pipeline in pipelines:
        whole = _steps(pipeline)
        for depth, stage in enumerate(_stages(pipeline), start=1):
            steps = whole[:depth]
            if steps not in plan:
                plan[steps] = _Step(stage)
                if depth > 1:
                    plan[steps[:-1]].following.append(steps)
    return plan


def _steps(pipeline: Pipeline) -> Steps:
    return tuple(identity(stage) for stage in _stages(pipeline))


def _stages(pipeline: Pipeline) -> tuple[Stage, ...]:
    return (pipeline.extractor, pipeline.reduction, pipeline.clustering)


@contextmanager
def _kept(folder: Path | None) -> Iterator[Store]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="stoic-causes-") as passing:
            yield Store(Path(passing))
    else:
        store = Store(folder)
        store.tidy()
        yield store


def _silent(made: int, of: int) -> None:
    """Tell nobody."""
