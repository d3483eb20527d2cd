"""Trials that hit one input each, run together in the rows of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stoic.faults.space import Fault
from stoic.network.inject import changes_of
from stoic.network.replay import Replay, Stepper
from stoic.network.subject import Answer, Rows, Trials

__all__ = ["Packs", "gathered", "only_input"]

# Packs that wait for a trial with an input of their own.
_OPEN = 16


def only_input(faults: Sequence[Fault]) -> int | None:
    """Return the only input that a trial hits, if there is only one."""
    inputs = {fault.input for fault in faults}
    return inputs.pop() if len(inputs) == 1 else None


class Packs:
    """Groups of trials of which no two hit the same input.

    A row of the batch at its own place is computed by the same instructions whatever
    stands in the other rows, so every bit is that of a run alone.

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


def gathered(
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
    if not found.outputs:
        return Answer(None, found.exact)

    def lookup(name: str) -> Any:
        return found.outputs[name] if name in found.outputs else steps.golden(name)

    output = steps.golden.program.answer(lookup)
    whose = np.array([*range(len(trials)), *[-1] * len(fillers)])
    return Answer(output, found.exact, Rows(whose, np.array(inputs)))
