"""Trials that hit one input each, run together in the rows of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from stoic.faults.space import Fault
from stoic.network.fast import FastStepper
from stoic.network.golden import Golden
from stoic.network.inject import changes_of
from stoic.network.learnt import Learnt
from stoic.network.memory import second_time
from stoic.network.replay import Replay, Stepper
from stoic.network.smaller import RowStepper, Smaller
from stoic.network.subject import Answer, Group, Rows, Trials
from stoic.network.ways import Way, first_that_runs

__all__ = ["Packing", "only_input"]

# Packs that wait for a trial with an input of their own.
_OPEN = 16
# The largest value of a batch of picked inputs should stay in the cache.
_ROWS_BYTES = 32 << 20
_FEWEST = 4
# Of the time of exact steps: quick ones leave trials to be run again.
_WORTH = 0.8


def only_input(faults: Sequence[Fault]) -> int | None:
    """Return the only input that a trial hits, if there is only one."""
    inputs = {fault.input for fault in faults}
    return inputs.pop() if len(inputs) == 1 else None


@dataclass(frozen=True)
class Packing:
    """Groups of trials that hit one input each.

    Args:
        golden: The run.
        learnt: What has been found out on other batches of its size.
        fast_steps: Gives steps for fast mode.
        exact_ways: Gives ways to run trials of different inputs in the native batch.
        is_masked: Says whether a trial is seen to be masked within a moment.
        is_large: Says whether a trial makes a value that fast steps refuse.
    """

    golden: Golden
    learnt: Learnt
    fast_steps: Callable[[], FastStepper]
    exact_ways: Callable[[Trials], list[Way]]
    is_masked: Callable[[Sequence[Fault]], bool]
    is_large: Callable[[Sequence[Fault]], bool]

    def groups(
        self, trials: Trials, places: Sequence[int], *, fast: bool
    ) -> Iterator[Group]:
        """Yield trials in the groups that are run together, each trial once."""
        smaller = self._smaller_for(len(places))
        packs = _Packs(smaller.size if smaller else self.golden.inputs)
        together: list[int] = []
        for place in places:
            if self.is_masked(trials[place]):
                yield Group([place], _masked)
            elif fast and self._goes_quickly(trials[place], smaller):
                together.append(place)
                if len(together) == self._size:
                    yield self._quick_group(trials, together)
                    together = []
            else:
                # Exactly: one fault that fast steps refuse would hold up a whole batch.
                for pack in packs.add(place, _input(trials[place])):
                    yield self._exact_group(trials, pack, smaller)
        if together:
            yield self._quick_group(trials, together)
        for pack in packs.rest():
            yield self._exact_group(trials, pack, smaller)

    def _goes_quickly(self, faults: Sequence[Fault], smaller: Smaller | None) -> bool:
        """Say whether a trial is to be run with last bits that may differ."""
        if self.is_large(faults):
            return False
        if smaller is None:
            return True
        return self.learnt.once("quick", partial(self._quick_pays, faults, smaller))

    def _quick_pays(self, faults: Sequence[Fault], smaller: Smaller) -> bool:
        """Say whether quick steps are worth the trials that need another run."""
        fillers = self._idle([faults], smaller)
        exact = partial(RowStepper, self.golden, smaller)
        quick, right = (
            second_time(partial(_gathered, on_rows, [faults], fillers, None))
            for on_rows in (self.fast_steps().on_rows, exact)
        )
        return quick < _WORTH * right

    def quick(self, trials: Trials, deadline: float | None) -> Answer:
        """Run trials as a batch of the inputs that they hit; last bits may differ."""
        return _gathered(self.fast_steps().on_rows, trials, [], deadline)

    def _quick_group(self, trials: Trials, places: list[int]) -> Group:
        chosen = [trials[place] for place in places]
        ways: list[Way] = [partial(self.quick, chosen)]
        if len(chosen) == 1:
            # What a trial raises by itself is its outcome.
            ways += self.exact_ways(chosen)
        return Group(places, partial(first_that_runs, ways))

    def _exact_group(
        self, trials: Trials, places: list[int], smaller: Smaller | None
    ) -> Group:
        """Return trials of different inputs that run with every bit right."""
        chosen = [trials[place] for place in places]
        ways = self.exact_ways(chosen)
        if smaller is not None:
            fillers = self._idle(chosen, smaller)
            on_rows = partial(RowStepper, self.golden, smaller)
            ways.insert(0, partial(_gathered, on_rows, chosen, fillers))
        return Group(places, partial(first_that_runs, ways))

    def _idle(self, trials: Trials, smaller: Smaller) -> list[int]:
        """Return inputs that trials do not hit, to make a smaller batch full."""
        hit = {_input(faults) for faults in trials}
        idle = [row for row in range(self.golden.inputs) if row not in hit]
        return idle[: smaller.size - len(hit)]

    @cached_property
    def _size(self) -> int:
        """How many inputs are picked for a batch."""
        rows = _ROWS_BYTES * self.golden.inputs // max(self.golden.largest, 1)
        # A power of two, as kernels like it.
        power = 1 << max(int(rows).bit_length() - 1, 0)
        return min(max(power, _FEWEST), self.golden.inputs)

    def _smaller_for(self, trials: int) -> Smaller | None:
        """Return smaller batches where so many trials are worth their proof."""
        if trials < self.golden.inputs and "smaller" not in self.learnt.found:
            return None
        return self.learnt.once("smaller", self._find_smaller)

    def _find_smaller(self) -> Smaller | None:
        """Return batches smaller than the native one, if they give the same bits."""
        if 2 * self._size > self.golden.inputs or not self.golden.whole:
            return None
        try:
            smaller = Smaller.of(self.golden, self._size)
        except Exception:
            # What the network cannot do with fewer inputs is not needed.
            return None
        return smaller if smaller.pays else None


def _input(faults: Sequence[Fault]) -> int:
    input = only_input(faults)
    assert input is not None
    return input


def _masked(deadline: float | None) -> Answer:
    """Answer for a trial that was seen to be masked."""
    return Answer(None, True)


class _Packs:
    """Groups of trials of which no two hit the same input.

    A row of the native batch is computed by the same instructions whatever stands in
    the other rows, so every bit is that of a run alone.

    Args:
        most: How many trials a group may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: list[dict[int, int]] = []

    def add(self, place: int, input: int) -> Iterator[list[int]]:
        """Let a trial wait for others; yield places that need not wait any longer."""
        pack = next((pack for pack in self._waiting if input not in pack), None)
        if pack is None:
            pack = {}
            self._waiting.append(pack)
        pack[input] = place
        if len(self._waiting) > _OPEN or len(self._waiting[0]) == self._most:
            yield list(self._waiting.pop(0).values())

    def rest(self) -> Iterator[list[int]]:
        """Yield the places that wait."""
        while self._waiting:
            yield list(self._waiting.pop(0).values())


def _gathered(
    on_rows: Callable[[Tensor], Stepper],
    trials: Trials,
    fillers: Sequence[int],
    deadline: float | None,
) -> Answer:
    """Run trials as a batch of the inputs that they hit, one row for each trial.

    Args:
        on_rows: Gives the steps for a batch of picked inputs.
        trials: Each in one input.
        fillers: Inputs that only bring the batch to its size.
        deadline: As `Replay` takes it.
    """
    inputs = [*map(only_input, trials), *fillers]
    steps = on_rows(torch.tensor(inputs))
    faults = chain.from_iterable(
        [replace(fault, input=row) for fault in faults]
        for row, faults in enumerate(trials)
    )
    changes, corrupt = changes_of(list(faults), steps.golden)
    found = Replay(steps, exit_masked=False)(changes, corrupt, deadline=deadline)
    whose = np.array([*range(len(trials)), *[-1] * len(fillers)])
    rows = Rows(whose, np.array(inputs))
    return Answer(found.output(steps.golden), found.exact, rows)
