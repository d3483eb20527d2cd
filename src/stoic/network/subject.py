"""The contract of the room: a network ready for trials, and one batch on the bench.

Two ways, one contract: replay of a captured program, or, for a network that cannot be
captured, in-place faults and full forwards. Both give the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.faults.space import Fault
from stoic.network.patch import same_words
from stoic.network.sites import LeftOut, Site

__all__ = ["Answer", "Bench", "Inputs", "Subject", "same_leaves"]


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

    @property
    def count(self) -> int:
        """Number of inputs."""
        return next(int(t.shape[0]) for t in self.leaves if _has_rows(t))

    def rows(self, start: int, end: int) -> Inputs:
        """Return some of the inputs."""
        args, kwargs = pytree.tree_map(
            lambda leaf: leaf[start:end] if _has_rows(leaf) else leaf,
            (self.args, dict(self.kwargs)),
        )
        return Inputs(args, kwargs)


def _has_rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0


@dataclass(frozen=True)
class Answer:
    """A faulty run's output.

    Args:
        output: In the network's own structure; nothing if every word is golden.
        exact: Whether each bit is that of a full run.
    """

    output: Any
    exact: bool


class Bench(Protocol):
    """One batch of inputs with its golden run."""

    @property
    def golden(self) -> Any:
        """The fault-free output."""
        ...

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        ...

    def trial(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Run once with faults in place."""
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

    def bench(self, inputs: Inputs) -> Bench:
        """Run one batch without a fault."""
        ...


def same_leaves(a: Any, b: Any) -> bool:
    """Say whether two outputs have the same tensors, word for word."""
    left, right = pytree.tree_leaves(a), pytree.tree_leaves(b)
    return len(left) == len(right) and all(map(same_words, left, right))
