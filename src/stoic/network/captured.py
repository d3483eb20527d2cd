"""Trials by replay of a captured program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.faults.formats import flat_words, value_of
from stoic.faults.space import Fault
from stoic.network.budget import Budget
from stoic.network.exact import ExactStepper, Screen
from stoic.network.fast import FastStepper, TooLargeError, too_large
from stoic.network.golden import Golden
from stoic.network.inject import changes_of, words_of
from stoic.network.memory import now
from stoic.network.packs import Packs, gathered, only_input
from stoic.network.program import Program
from stoic.network.replay import Replay, Replayed, TimeLimitError
from stoic.network.rows import RowDims
from stoic.network.sites import LeftOut, Site
from stoic.network.smaller import Smaller
from stoic.network.stacks import Stacks
from stoic.network.subject import (
    Answer,
    Group,
    Inputs,
    Rows,
    Trials,
    one_by_one,
    only_rows,
)

__all__ = ["CapturedBench", "CapturedSubject", "Switches"]

Way: TypeAlias = Callable[[float | None], Answer]

# Says something of the machine or the user's limit: no other way is tried.
_FINAL = (TimeLimitError, MemoryError, torch.OutOfMemoryError)
# The largest value of a batch of picked inputs.
_ROWS_BYTES = 32 << 20
# What it takes to see a fault masked in narrow steps, at most.
_SCREENING_S = 3e-3


@dataclass(frozen=True)
class Switches:
    """Optimisations, each proved equal to the serial suffix and each to be turned off.

    Args:
        narrow: Compute only the touched channel or row where an operator allows it.
        exit_masked: Stop where every deviation has vanished.
        sums: Fast mode: add a deviation's part to the golden result.
        fold: Fast mode: fold batch norms into convolutions, in the quicker layout.
        pack: Run faults that hit one input each in the rows of one batch.
        stack: Fast mode: run faults in one row of a weight as one large batch.
    """

    narrow: bool = True
    exit_masked: bool = True
    sums: bool = True
    fold: bool = True
    pack: bool = True
    stack: bool = True


@dataclass(frozen=True)
class CapturedSubject:
    """A captured network.

    Args:
        fused_attention: Whether the network has layers with a fused attention path:
            its own output is compared with that path off.
        budget: What a bench may add to the memory; without it everything is kept.
        reason: Nothing: this is the quick path.
    """

    program: Program
    rows: RowDims | None
    sites: tuple[Site, ...]
    left_out: tuple[LeftOut, ...]
    switches: Switches
    fused_attention: bool = False
    budget: Budget | None = None
    reason: str | None = None

    def bench(self, inputs: Inputs) -> CapturedBench:
        """Run one batch without a fault."""
        keep = self.budget.kept(inputs.count) if self.budget else None
        again = self.budget.again_bytes if self.budget else 0
        begun = now()
        golden = Golden(self.program, inputs.leaves, self.rows, keep, again)
        return CapturedBench(golden, self.switches, now() - begun)


class CapturedBench:
    """A golden run, the seconds that it took, and the replays against it."""

    def __init__(self, golden: Golden, switches: Switches, seconds: float) -> None:
        self._golden = golden
        self._seconds = seconds
        self._switches = switches
        self._stepper = ExactStepper(golden, narrow=switches.narrow)
        self._exact = Replay(self._stepper, exit_masked=switches.exit_masked)
        self._plain = Replay(ExactStepper(golden, narrow=False), exit_masked=False)
        self._screen = Replay(Screen(self._stepper))
        self._words: dict[str, NDArray[Any]] = {}
        self.golden = golden.answer

    @property
    def inputs(self) -> int:
        """Number of inputs in the batch."""
        return self._golden.inputs

    @cached_property
    def _fast_steps(self) -> FastStepper:
        on = self._switches
        return FastStepper.of(self._golden, self._stepper, sums=on.sums, fold=on.fold)

    @cached_property
    def _fast(self) -> Replay:
        return Replay(self._fast_steps, exit_masked=self._switches.exit_masked)

    @property
    def _packs(self) -> bool:
        """Whether trials in one input each may share a run."""
        return self._switches.pack and self._golden.rows_apart

    @cached_property
    def _stacks(self) -> Stacks:
        return Stacks(self._golden)

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        value = fault.site.value
        if fault.site.kind not in ("parameter", "buffer"):
            return words_of(fault, self._golden(value))
        if value not in self._words:
            self._words[value] = flat_words(self._golden(value))
        old = int(self._words[value][fault.element])
        return old, fault.corruption(old)

    def groups(self, trials: Trials, *, fast: bool) -> Iterator[Group]:
        """Yield trials in the groups that are run together, each trial once.

        Trials that hit one input each share a run: in fast mode as a batch of their
        own, exactly in the rows of the native one. In fast mode, faults in one row of a
        weight are stacked where values are small.
        """
        rest: Sequence[int] = range(len(trials))
        if self._packs:
            ours = [place for place in rest if only_input(trials[place]) is not None]
            yield from self._packed(trials, ours, fast)
            rest = [place for place in rest if only_input(trials[place]) is None]
        if fast and self._switches.stack and self._golden.rows_apart:
            rest = yield from self._stacks.groups(trials, rest, self._fast_alone)
        yield from one_by_one(self, trials, rest, fast=fast)

    def _packed(
        self, trials: Trials, places: Sequence[int], fast: bool
    ) -> Iterator[Group]:
        """Yield groups of trials that hit one input each."""
        smaller = self._smaller_for(len(places))
        packs = Packs(smaller.size if smaller else self.inputs)
        together: list[int] = []
        for place in places:
            if self._is_soon_masked(trials[place]):
                yield Group([place], _masked)
            elif fast and not self._is_large(trials[place]):
                together.append(place)
                if len(together) == self._most_together:
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

    def _quick_group(self, trials: Trials, places: list[int]) -> Group:
        """Return trials that run as a batch of their own; last bits may differ."""
        chosen = [trials[place] for place in places]
        on_rows = self._fast_steps.on_rows
        return Group(places, partial(gathered, on_rows, chosen, []))

    def _exact_group(
        self, trials: Trials, places: list[int], smaller: Smaller | None
    ) -> Group:
        """Return trials of different inputs that run with every bit right."""
        chosen = [trials[place] for place in places]
        ways = self._exact_ways(chosen)
        if smaller is not None:
            hit = {_input(faults) for faults in chosen}
            idle = [row for row in range(self.inputs) if row not in hit]
            fillers = idle[: smaller.size - len(hit)]
            ways.insert(0, partial(gathered, smaller.on_rows, chosen, fillers))
        return Group(places, partial(_first_that_runs, ways))

    @cached_property
    def _most_together(self) -> int:
        """How many rows a batch of picked inputs has: its values stay in the cache."""
        values = (self._golden(step.name) for step in self._golden.program.steps)
        largest = max((v.nbytes for v in values if isinstance(v, Tensor)), default=0)
        rows = _ROWS_BYTES * self.inputs // max(largest, 1)
        # A power of two, as kernels like it.
        return min(1 << max(int(rows).bit_length() - 1, 2), self.inputs)

    def _smaller_for(self, trials: int) -> Smaller | None:
        """Return smaller batches where so many trials are worth their proof."""
        known = "_smaller" in self.__dict__
        return self._smaller if known or trials >= self.inputs else None

    @cached_property
    def _smaller(self) -> Smaller | None:
        """Batches that are smaller than the native one, if they give the same bits."""
        size = self._most_together
        if 2 * size > self.inputs or not self._golden.whole:
            return None
        try:
            smaller = Smaller.of(self._golden, size)
        except Exception:
            # What the network cannot do with fewer inputs is not needed.
            return None
        return smaller if smaller.pays else None

    def _is_soon_masked(self, faults: Sequence[Fault]) -> bool:
        """Say whether a fault in one input is masked before any step runs whole.

        Only asked where a share of a pack takes longer than to find that out.
        """
        share = self._seconds / self._golden.inputs
        if share < _SCREENING_S or not self._switches.narrow:
            return False
        try:
            return not self._screen(*changes_of(faults, self._golden)).outputs
        except Exception:
            # It survives, or the network raises: the run of the trial will tell.
            return False

    def _is_large(self, faults: Sequence[Fault]) -> bool:
        """Say whether a fault makes a value that fast steps refuse."""
        return any(
            too_large(value_of(self.words(fault)[1], fault.site.dtype))
            for fault in faults
        )

    def run(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Replay what lies downstream of the faults of one trial."""
        ways = self._exact_ways([faults])
        # Steps see how large a fault is only where it is the first.
        if fast and not (len(faults) > 1 and self._is_large(faults)):
            ways.insert(0, partial(self._run_fast, faults))
        return _first_that_runs(ways, deadline)

    def _run_fast(self, faults: Sequence[Fault], deadline: float | None) -> Answer:
        if self._packs and only_input(faults) is not None:
            return gathered(self._fast_steps.on_rows, [faults], [], deadline)
        changes, corrupt = changes_of(faults, self._golden)
        rows = only_rows([faults], self.inputs)
        return self._answer(self._fast(changes, corrupt, deadline=deadline), rows)

    def _exact_ways(self, trials: Trials) -> list[Way]:
        """Return what runs trials of different rows at once, the quick way first."""
        faults, rows = list(chain(*trials)), only_rows(trials, self.inputs)

        def run(replay: Replay, deadline: float | None) -> Answer:
            changes, corrupt = changes_of(faults, self._golden)
            return self._answer(replay(changes, corrupt, deadline=deadline), rows)

        return [partial(run, self._exact), partial(run, self._plain)]

    def _fast_alone(self, faults: Sequence[Fault]) -> None:
        with suppress(TooLargeError):
            changes, corrupt = changes_of(faults, self._golden)
            self._fast(changes, corrupt)

    def _answer(self, found: Replayed, rows: Rows | None) -> Answer:
        if not found.outputs:
            return Answer(None, found.exact)

        def lookup(name: str) -> Any:
            changed = found.outputs.get(name)
            return self._golden(name) if changed is None else changed

        return Answer(self._golden.program.answer(lookup), found.exact, rows)


def _input(faults: Sequence[Fault]) -> int:
    input = only_input(faults)
    assert input is not None
    return input


def _masked(deadline: float | None) -> Answer:
    """Answer for a trial that the screen saw masked."""
    return Answer(None, True)


def _first_that_runs(ways: Sequence[Way], deadline: float | None) -> Answer:
    """Run one way after the other until one does not raise.

    Only what raises in every way, the plain one too, is the network's crash.
    """
    *quick, plain = ways
    for way in quick:
        try:
            return way(deadline)
        except _FINAL:
            raise
        except Exception:
            continue
    return plain(deadline)
