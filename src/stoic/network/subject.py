"""The contract of the room: a network ready for trials, and one batch on the bench.

Two ways, one contract: replay of a captured program, or, for a network that cannot be
captured, in-place faults and full forwards. Both give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.faults.space import Fault
from stoic.network.patch import same_words
from stoic.network.sites import LeftOut, Site

__all__ = [
    "Answer",
    "Bench",
    "Group",
    "Inputs",
    "Rows",
    "Subject",
    "Trials",
    "one_by_one",
    "only_rows",
    "same_leaves",
]

# Each by its faults that strike the batch.
Trials: TypeAlias = Sequence[Sequence[Fault]]


@dataclass(frozen=True)
class Inputs:
    """What a network is called with.

    Args:
        args: Positional inputs; dimension 0 of every tensor is the inputs.
        kwargs: Keyword inputs, likewise.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def leaves(self) -> list[Any]:
        """Tensors and plain values, in the order of the program's inputs."""
        return pytree.tree_leaves((self.args, dict(self.kwargs)))

    @cached_property
    def count(self) -> int:
        """Number of inputs."""
        return next(int(t.shape[0]) for t in self.leaves if _has_rows(t))

    @property
    def device(self) -> torch.device:
        """Where the first tensor lies; one network runs on one device."""
        return next(t.device for t in self.leaves if isinstance(t, Tensor))

    @property
    def names(self) -> list[str]:
        """Names of the leaves: keywords, or positions."""
        tree = (self.args, dict(self.kwargs))
        paths, _ = pytree.tree_flatten_with_path(tree)
        return [".".join(_key(part) for part in path[1:]) for path, _ in paths]

    def with_leaves(self, leaves: list[Any]) -> Inputs:
        """Return inputs of the same structure."""
        _, spec = pytree.tree_flatten((self.args, dict(self.kwargs)))
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        return Inputs(args, kwargs)

    def rows(self, start: int, end: int) -> Inputs:
        """Return some of the inputs."""
        args, kwargs = pytree.tree_map(
            lambda leaf: leaf[start:end] if _has_rows(leaf) else leaf,
            (self.args, dict(self.kwargs)),
        )
        return Inputs(args, kwargs)

    def batches(self, size: int) -> Iterator[Inputs]:
        """Yield so many of them at a time."""
        for start in range(0, self.count, size):
            yield self.rows(start, min(start + size, self.count))

    def picked(self, places: Tensor) -> Inputs:
        """Return some of the inputs, in the order of their places."""
        args, kwargs = pytree.tree_map(
            lambda leaf: leaf[places.to(leaf.device)] if _has_rows(leaf) else leaf,
            (self.args, dict(self.kwargs)),
        )
        return Inputs(args, kwargs)


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "idx", part)))


def _has_rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0


@dataclass(frozen=True)
class Rows:
    """Whom the rows of an output are about.

    Args:
        trial: Place of the trial among those run together; -1 for nobody.
        input: Row of the batch that it is run on.
    """

    trial: NDArray[Any]
    input: NDArray[Any]

    @classmethod
    def of_one(cls, inputs: int) -> Rows:
        """Return the rows of a single trial on a whole batch."""
        return cls.of_many(1, inputs)

    @classmethod
    def of_many(cls, trials: int, inputs: int) -> Rows:
        """Return the rows of several trials on a whole batch each, trial by trial."""
        return cls(np.arange(trials).repeat(inputs), np.tile(np.arange(inputs), trials))


@dataclass(frozen=True)
class Answer:
    """The output of a run with faults in it.

    Args:
        output: In the network's own structure; nothing if every word is golden.
        exact: Whether each bit is that of a full run.
        rows: Whom its rows are about; nothing where they are the batch's, one trial's.
        left: Places of trials that must be run alone.
    """

    output: Any
    exact: bool
    rows: Rows | None = None
    left: tuple[int, ...] = ()


@dataclass(frozen=True)
class Group:
    """Trials that are run together.

    Args:
        places: Of the trials among those that were asked for.
        run: Runs them; takes a deadline, a time of ``time.monotonic``, or nothing, and
            raises ``TimeLimitError`` once it has passed.
    """

    places: list[int]
    run: Callable[[float | None], Answer]


class Bench(Protocol):
    """One batch of inputs with its golden run."""

    @property
    def golden(self) -> Any:
        """The fault-free output."""
        ...

    @property
    def inputs(self) -> int:
        """Number of inputs in the batch."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the golden values that it holds."""
        ...

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        ...

    def groups(self, trials: Trials, *, fast: bool) -> Iterator[Group]:
        """Yield trials in the groups that are run together, each trial once."""
        ...

    def run(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Run one trial with its faults in place.

        Raises:
            TimeLimitError: The deadline, a time of ``time.monotonic``, has passed.
        """
        ...


class Subject(Protocol):
    """A network ready for trials."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where a fault can hit, in order of depth."""
        ...

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What is no site."""
        ...

    @property
    def reason(self) -> str | None:
        """Why the network takes the slow path, if it does."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether memory is limited."""
        ...

    def bench(self, inputs: Inputs) -> Bench:
        """Run one batch without a fault."""
        ...


def same_leaves(a: Any, b: Any) -> bool:
    """Say whether two outputs have the same tensors, word for word."""
    left, right = pytree.tree_leaves(a), pytree.tree_leaves(b)
    return len(left) == len(right) and all(map(same_words, left, right))


def one_by_one(
    bench: Bench, trials: Trials, places: Iterable[int], *, fast: bool
) -> Iterator[Group]:
    """Yield some trials as groups of their own."""
    for place in places:
        yield Group([place], partial(_run_one, bench, trials[place], fast))


def _run_one(
    bench: Bench, faults: Sequence[Fault], fast: bool, deadline: float | None
) -> Answer:
    return bench.run(faults, fast=fast, deadline=deadline)


def only_rows(trials: Sequence[Sequence[Fault]], inputs: int) -> Rows | None:
    """Return whose rows are whose, where each trial hits an input of its own."""
    if any(fault.input is None for faults in trials for fault in faults):
        return None
    rows = Rows(np.full(inputs, -1), np.arange(inputs))
    for place, faults in enumerate(trials):
        for fault in faults:
            rows.trial[fault.input] = place
    return rows
