"""Judging: from answers to facts, those of many trials at once where they can be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from stoic.campaign.facts import Facts, Standing
from stoic.campaign.trials import Bay
from stoic.network.memory import one_thread
from stoic.network.subject import Answer, Bench, Rows

__all__ = ["Block", "Jury"]

# Answers to be judged together should stay in the cache.
_TOGETHER_BYTES = 4 << 20


@dataclass(frozen=True)
class Block:
    """Facts of some trials, one row per trial and input that has any.

    Args:
        trial: Place of the trial among those that were run.
        input: Number of the input.
        columns: The facts.
    """

    trial: NDArray[Any]
    input: NDArray[Any]
    columns: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Jury:
    """Judges answers on one batch of inputs, or on several.

    Args:
        bay: What the trials are run on.
        benches: The golden run of the batch, or of several.
        starts: First input of each.
        blocks: Where facts are added.
    """

    bay: Bay
    benches: Sequence[Bench]
    starts: Sequence[int]
    blocks: list[Block]

    @cached_property
    def _inputs(self) -> int:
        return sum(bench.inputs for bench in self.benches)

    @cached_property
    def _numbers(self) -> NDArray[Any]:
        """The number of the input in each row."""
        each = zip(self.starts, self.benches, strict=True)
        return np.concatenate([start + np.arange(b.inputs) for start, b in each])

    @cached_property
    def _golden(self) -> Any:
        """The golden output of all batches."""
        goldens = [bench.golden for bench in self.benches]
        if len(goldens) == 1:
            return goldens[0]
        first = self.benches[0].inputs

        def joined(*parts: Any) -> Any:
            rowed = isinstance(parts[0], Tensor) and parts[0].shape[:1] == (first,)
            return torch.cat(parts) if rowed else parts[0]

        return pytree.tree_map(joined, *goldens)

    def judge(self, members: list[int], answer: Answer) -> list[int]:
        """Add the facts of an answer; return the places of unsettled trials.

        Facts of a trial are added only if all of its rows are sure.
        """
        if answer.output is None:
            return list(answer.left)
        if (
            self.bay.judge.opaque
            and answer.rows
            and len(answer.rows.input) != self._inputs
        ):
            if not answer.exact:
                return list(range(len(members)))
            answer = self._widened(answer, answer.rows)
        rows = answer.rows or Rows.of_one(self._inputs)
        facts = self._judged(answer, rows)
        mine = rows.trial >= 0
        unsure: list[int] = np.unique(rows.trial[facts.unsure & mine]).tolist()
        again = sorted({*unsure, *answer.left})
        told = np.flatnonzero(facts.told)
        kept = mine[told] & ~np.isin(rows.trial[told], again)
        if kept.any():
            columns = {name: column[kept] for name, column in facts.columns.items()}
            trial, input = rows.trial[told[kept]], rows.input[told[kept]]
            block = Block(np.array(members)[trial], self._numbers[input], columns)
            self.blocks.append(block)
        return again

    def _widened(self, answer: Answer, rows: Rows) -> Answer:
        """Return the rows of some inputs in their places of a whole batch.

        What is the user's may look at all of it.
        """
        inputs = self._inputs
        at = torch.from_numpy(rows.input)

        def put(golden: Any, faulty: Any) -> Any:
            if not isinstance(golden, Tensor) or golden.shape[:1] != (inputs,):
                return faulty
            return golden.index_copy(0, at.to(golden.device), faulty)

        whose = np.full(inputs, -1)
        whose[rows.input] = rows.trial
        output = pytree.tree_map(put, self._golden, answer.output)
        return replace(answer, output=output, rows=Rows(whose, np.arange(inputs)))

    def _judged(self, answer: Answer, rows: Rows) -> Facts:
        judge, count = self.bay.judge, len(rows.input)
        with nullcontext() if self.bay.judge.opaque else one_thread():
            of = self._picked(answer.rows)
            if answer.exact:
                return judge.exact_facts(of.golden, answer.output, of.labels, count)
            return judge.fast_facts(
                of.golden, answer.output, of.labels, count, of.standing
            )

    def _picked(self, rows: Rows | None) -> _Reference:
        """Return the reference row by row; stacks of one size in a row share it."""
        if rows is None:
            return self._reference
        if self._latest and np.array_equal(self._latest[-1][0], rows.input):
            return self._latest[-1][1]
        picked = self._reference.at(torch.from_numpy(rows.input), self._inputs)
        self._latest[:] = [(rows.input, picked)]
        return picked

    @cached_property
    def _latest(self) -> list[tuple[NDArray[Any], _Reference]]:
        return []

    @cached_property
    def _reference(self) -> _Reference:
        labels = [self.bay.batch_labels(start) for start in self.starts]
        # Of each batch by itself: that is how far its own rounding reaches.
        standings = [
            self.bay.judge.standing(bench.golden, own)
            for bench, own in zip(self.benches, labels, strict=True)
        ]
        given = [own for own in labels if own is not None]
        own = torch.cat(given) if given else None
        return _Reference(self._golden, own, Standing.joined(standings))

    def at_once(self, answer: Answer) -> int:
        """Return how many answers like this one to judge together; 1 if none may be."""
        alike = answer.rows is None and not answer.left and not self.bay.judge.opaque
        if not alike or answer.output is None or not self._fits(answer.output):
            return 1
        size = sum(leaf.nbytes for leaf in pytree.tree_leaves(answer.output))
        return int(max(_TOGETHER_BYTES // max(size, 1), 1))

    def _fits(self, output: Any) -> bool:
        """Say whether every part of an output is a tensor with the batch's rows."""
        golden, faulty = map(pytree.tree_leaves, (self._golden, output))
        return len(golden) == len(faulty) and all(
            isinstance(a, Tensor)
            and isinstance(b, Tensor)
            and a.dim() > 0
            and a.shape == b.shape
            and len(a) == self._inputs
            for a, b in zip(golden, faulty, strict=True)
        )

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """Return answers of one trial each as one, trial by trial."""
        outputs = [answer.output for answer in answers]
        output = pytree.tree_map(lambda *parts: torch.cat(parts), *outputs)
        rows = Rows.of_many(len(answers), self._inputs)
        return Answer(output, all(answer.exact for answer in answers), rows)


@dataclass(frozen=True)
class _Reference:
    """What a faulty output is compared with."""

    golden: Any
    labels: Tensor | None
    standing: Standing

    def at(self, index: Tensor, inputs: int) -> _Reference:
        """Return the rows of some inputs."""

        def pick(leaf: Any) -> Any:
            rowed = isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == inputs
            return leaf[index.to(leaf.device)] if rowed else leaf

        labels = None if self.labels is None else pick(self.labels)
        return _Reference(
            pytree.tree_map(pick, self.golden), labels, self.standing.at(index)
        )
