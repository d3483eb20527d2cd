"""Trials on batches of their own, gone on with together as the rows of one batch.

Each trial begins by itself, at least with the step that reads the stored word, and in
large networks as far as its deviation is a slice: many end there. From where they have
come, one fast run takes all others up, each in rows of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
from torch import Tensor

from stoic.faults.space import Fault
from stoic.network.exact import ExactStepper, Screen, SurvivesError
from stoic.network.fast import FastStepper
from stoic.network.golden import Golden
from stoic.network.inject import changes_of
from stoic.network.patch import Changed, Changes, Patch, agrees, overlaid, whole
from stoic.network.program import Program, Step, Values
from stoic.network.replay import Corrupt, Replay
from stoic.network.rows import ODD, SAME, RowDim
from stoic.network.rules import Call, rule_for
from stoic.network.sizes import too_large
from stoic.network.subject import Answer, Group, Rows

__all__ = ["LARGE", "MASKED", "Gathering", "Start", "started"]

# The largest value of a group should stay in the cache.
_ROWS_BYTES = 32 << 20
_MOST_ROWS = 128
# Deviations so much larger than anything golden are kept apart: one that comes near an
# overflow ends the run of its whole group.
_WILD = 1e9


@dataclass(frozen=True)
class Start:
    """Where the deviation of a trial is taken up.

    Args:
        value: The only value that differs; empty where there is none.
        change: What it has become.
        order: Of the step that makes it; -1 for an input.
        wild: Whether it is far larger than golden values are.
    """

    value: str
    change: Changed | None = None
    order: int = -1
    wild: bool = False


MASKED = Start("")
"""Of trials whose output is golden, word for word."""
LARGE = Start("")
"""Of trials with deviations that fast steps refuse."""


def started(
    faults: Sequence[Fault],
    golden: Golden,
    exact: ExactStepper | None,
    fast: FastStepper,
) -> Start | None:
    """Run a trial on its own batch until a group can take it up.

    Args:
        faults: Of the trial; inputs are rows of the batch.
        golden: The batch.
        exact: Its steps, to follow a slice as far as it goes and see if it is masked;
            nothing where the steps of a group cost less than that.
        fast: Steps of the group, which runs folded ones at once.

    Returns:
        Nothing where the trial is best run alone.
    """
    changes, corrupt = changes_of(faults, golden)
    if len(changes) + len(corrupt) != 1:
        return None if changes or corrupt else MASKED
    ((name, change),) = _at_once(changes, corrupt, golden).items()
    if agrees(change, golden(name)):
        return MASKED
    program, masked = golden.program, False
    while not masked and (step := _only_reader(program, name)) is not None:
        must = _must_go_on(name, program, fast)
        follows = exact is not None and not exact.is_short(step)
        # A later step may cut off what is too large for a group.
        if not (must or follows or _is_large(change)):
            break
        result = _result(step, {name: change}, golden, must=must)
        if not isinstance(result, Tensor | Patch):
            break
        name, change = step.name, result
        masked = follows and agrees(result, golden(name))
    if masked and exact is not None and _is_masked(changes, corrupt, exact):
        return MASKED
    return _start(name, change, golden)


def _result(step: Step, changes: Changes, golden: Golden, *, must: bool) -> Any:
    """Return a step's result as a slice, or whole where there must be one."""
    patched = any(isinstance(change, Patch) for change in changes.values())
    rule = rule_for(step) if patched else None
    found = rule(Call(step, changes, golden, fast=False)) if rule is not None else None
    return step(overlaid(changes, golden)) if found is None and must else found


def _is_masked(
    changes: Mapping[str, Changed], corrupt: Mapping[str, Corrupt], exact: ExactStepper
) -> bool:
    """Say whether a trial is seen to be masked by steps with every bit right."""
    try:
        return not Replay(Screen(exact))(changes, corrupt).outputs
    except SurvivesError:
        return False


def _is_large(change: Changed) -> bool:
    return too_large(change.piece if isinstance(change, Patch) else change)


def _at_once(
    changes: Mapping[str, Changed], corrupt: Mapping[str, Corrupt], golden: Golden
) -> dict[str, Changed]:
    return {**changes, **{n: hit.of(golden(n)) for n, hit in corrupt.items()}}


def _only_reader(program: Program, name: str) -> Step | None:
    readers = program.readers.get(name, ())
    alone = len(readers) == 1 and name not in program.output_names
    return readers[0] if alone else None


def _must_go_on(name: str, program: Program, fast: FastStepper) -> bool:
    """Say whether a group cannot take a trial up before a step."""
    fold = fast.folds.get(name)
    folded = fold is not None and fold.convolution.name == name
    return folded or name in program.stored


def _start(name: str, change: Changed, golden: Golden) -> Start | None:
    dim = golden.dim(name)
    piece = change.piece if isinstance(change, Patch) else change
    if dim is None or not piece.is_floating_point():
        return None
    if _is_large(change):
        return LARGE
    step = golden.program.by_name.get(name)
    wild = not bool(piece.abs().max() < _WILD)
    return Start(name, change, step.order if step else -1, wild)


@dataclass(frozen=True)
class Gathering:
    """Groups of trials on batches of their own.

    Args:
        benches: Golden runs of the batches, of as many inputs each.
        steps: Fast steps of one of them.
    """

    benches: Sequence[Golden]
    steps: FastStepper

    def groups(self, starts: Sequence[tuple[int, Start]]) -> Iterator[Group]:
        """Yield trials in the groups that are run together, each trial once.

        Args:
            starts: Of each trial the number of its batch, and where it is taken up.
        """
        left = list(range(len(starts)))
        left.sort(key=lambda place: (starts[place][1].wild, starts[place][1].order))
        while left:
            some = left[: self._most(starts[left[0]][1].order)]
            wild = starts[some[0]][1].wild
            some = [place for place in some if starts[place][1].wild == wild]
            left = left[len(some) :]
            yield Group(some, partial(self._run, [starts[place] for place in some]))

    def _most(self, order: int) -> int:
        """Return how many batches a group may have that begins at a step."""
        most = min(_ROWS_BYTES // max(self._largest[order + 1], 1), _MOST_ROWS)
        each = self.benches[0].inputs
        # A power of two, as kernels like it.
        return 1 << max((most // each if each > 1 else most).bit_length() - 1, 0)

    @cached_property
    def _largest(self) -> list[int]:
        """The largest value of one batch from each step on, by its order plus one."""
        golden = self.benches[0]
        sizes = [golden.nbytes[step.name] for step in golden.program.steps]
        found = [0]
        for size in reversed([0, *sizes]):
            found.append(max(found[-1], size))
        return found[:0:-1]

    def _run(
        self, starts: Sequence[tuple[int, Start]], deadline: float | None
    ) -> Answer:
        joined = _Joined([self.benches[number] for number, _ in starts], self.steps)
        steps = replace(self.steps, golden=joined, laid=joined, exact=None)
        hits: dict[str, list[tuple[int, Changed]]] = {}
        for place, (_, start) in enumerate(starts):
            assert start.change is not None
            hits.setdefault(start.value, []).append((place, start.change))
        corrupt: dict[str, Corrupt] = {
            name: _Taken(tuple(own), joined.dim(name), joined.inputs, name, joined)
            for name, own in hits.items()
        }
        found = Replay(steps, exit_masked=False)({}, corrupt, deadline=deadline)
        return Answer(found.output(joined), False, self._rows(starts))

    def _rows(self, starts: Sequence[tuple[int, Start]]) -> Rows:
        each = self.benches[0].inputs
        first = np.array([number * each for number, _ in starts])
        inputs = (first[:, None] + np.arange(each)).ravel()
        return Rows(np.arange(len(starts)).repeat(each), inputs)


@dataclass(frozen=True)
class _Taken:
    """What some trials make of a value, each in rows of its own.

    Args:
        parts: Place of each trial and what becomes of the value of its batch.
        dim: Where the value has its rows.
        inputs: Of each batch.
        name: Of the value.
        joined: The run.
    """

    parts: tuple[tuple[int, Changed], ...]
    dim: RowDim
    inputs: int
    name: str
    joined: _Joined

    def of(self, value: Tensor) -> Tensor:
        """Return what becomes of a value; the value itself stays as it is."""
        changed = value.clone()
        self.into(changed)
        return changed

    def into(self, value: Tensor) -> None:
        """Change a value that nobody else reads."""
        at = self.dim.dim + 1
        rows = value if self.dim.alone else self.dim.apart(value)
        for place, change in self.parts:
            own = self.joined.batches[place](self.name)
            if self.dim.alone:
                block = value.narrow(at - 1, place * self.inputs, self.inputs)
                if isinstance(change, Patch) and change.dim != at - 1:
                    change.of(block).copy_(change.piece)
                    continue
                block.copy_(whole(change, own))
                continue
            block = rows.narrow(at, place * self.inputs, self.inputs)
            block.copy_(self.dim.apart(whole(change, own)))


class _Joined:
    """The values of several batches as those of one, in the layout of fast steps."""

    def __init__(self, batches: Sequence[Golden], steps: FastStepper) -> None:
        self.program = batches[0].program
        self.rows = batches[0].rows
        self.inputs = batches[0].inputs
        self.batches = batches
        self._layout = steps.layout
        self._made: Values = {}

    def dim(self, name: str) -> RowDim:
        """Return where a value has its rows."""
        assert self.rows is not None
        return self.rows.get(name, SAME)

    def __call__(self, name: str) -> Any:
        """Return a value with the rows of all batches."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def holds(self, name: str) -> bool:
        """Say whether a value has been made already."""
        return name in self._made

    def _make(self, name: str) -> Any:
        dim, step = self.dim(name), self.program.by_name.get(name)
        if dim == SAME or (dim == ODD and step is None):
            return self.batches[0](name)
        if dim == ODD and step is not None:
            return step(self)
        value = dim.all_of([cast(Tensor, batch(name)) for batch in self.batches])
        if value.dim() == 4:
            return value.contiguous(memory_format=self._layout)
        return value
