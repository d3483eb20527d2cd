"""Trials by replay of a captured program."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from stoic.faults.formats import flat_words, value_of
from stoic.faults.space import Fault
from stoic.network.budget import Budget
from stoic.network.exact import ExactStepper, Screen
from stoic.network.fast import FastStepper, Laid, TooLargeError
from stoic.network.gathered import Gathering, Start, started
from stoic.network.golden import Golden
from stoic.network.inject import changes_of, words_of
from stoic.network.learnt import Learnt
from stoic.network.memory import now
from stoic.network.packs import Packing, only_input
from stoic.network.program import Program
from stoic.network.replay import Replay, Replayed
from stoic.network.rows import RowDims
from stoic.network.short import short_from
from stoic.network.sites import LeftOut, Site
from stoic.network.sizes import too_large
from stoic.network.stacks import Stacks
from stoic.network.subject import (
    Answer,
    Bench,
    Group,
    Inputs,
    Rows,
    Trials,
    one_by_one,
    only_rows,
)
from stoic.network.ways import Way, first_that_runs

__all__ = ["CapturedBench", "CapturedSubject", "Switches", "gathering", "start_of"]

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
        short: Run the last steps whole where they are quicker than to narrow them.
    """

    narrow: bool = True
    exit_masked: bool = True
    sums: bool = True
    fold: bool = True
    pack: bool = True
    stack: bool = True
    short: bool = True


@dataclass(frozen=True)
class CapturedSubject:
    """A captured network.

    Args:
        fused_attention: Whether the network has layers with a fused attention path:
            its own output is compared with that path off.
        budget: What a bench may add to the memory; without it everything is kept.
        reason: Nothing: this is the quick path.
        learnt: What benches have found out by trial, by the size of their batch.
    """

    program: Program
    rows: RowDims | None
    sites: tuple[Site, ...]
    left_out: tuple[LeftOut, ...]
    switches: Switches
    fused_attention: bool = False
    budget: Budget | None = None
    reason: str | None = None
    learnt: dict[int, Learnt] = field(default_factory=dict, compare=False)

    @property
    def bounded(self) -> bool:
        """Whether memory is limited."""
        return self.budget is not None

    def bench(self, inputs: Inputs) -> CapturedBench:
        """Run one batch without a fault."""
        keep = self.budget.kept(inputs.count) if self.budget else None
        again = self.budget.again_bytes if self.budget else 0
        begun = now()
        golden = Golden(self.program, inputs.leaves, self.rows, keep, again)
        seconds = now() - begun
        learnt = self.learnt.setdefault(inputs.count, Learnt())
        return CapturedBench(golden, self.switches, seconds, learnt)


class CapturedBench:
    """A golden run, the seconds that it took, and the replays against it."""

    def __init__(
        self, golden: Golden, switches: Switches, seconds: float, learnt: Learnt
    ) -> None:
        self._golden = golden
        self._learnt = learnt
        self._seconds = seconds
        self._switches = switches
        short = learnt.once("short", partial(short_from, golden))
        self._stepper = ExactStepper(
            golden,
            narrow=switches.narrow,
            short=short if switches.short else math.inf,
            learnt=learnt,
        )
        self._exact = Replay(self._stepper, exit_masked=switches.exit_masked)
        self._plain = Replay(ExactStepper(golden, narrow=False), exit_masked=False)
        self._screen = Replay(Screen(self._stepper))
        self._words: dict[str, NDArray[Any]] = {}
        self.golden = golden.answer

    @property
    def inputs(self) -> int:
        """Number of inputs in the batch."""
        return self._golden.inputs

    @property
    def nbytes(self) -> int:
        """Bytes of the golden values that it holds, in any layout."""
        laid = self.fast_steps.laid if "fast_steps" in vars(self) else None
        return self._golden.held_bytes + (laid.nbytes if isinstance(laid, Laid) else 0)

    @cached_property
    def fast_steps(self) -> FastStepper:
        """Steps with the same verdict."""
        on = self._switches
        return FastStepper.of(
            self._golden, self._stepper, self._learnt, sums=on.sums, fold=on.fold
        )

    @cached_property
    def _fast(self) -> Replay:
        return Replay(self.fast_steps, exit_masked=self._switches.exit_masked)

    @property
    def _packs(self) -> bool:
        """Whether trials in one input each may share a run."""
        return self._switches.pack and self._golden.rows_apart

    @cached_property
    def _packing(self) -> Packing:
        return Packing(
            self._golden,
            self._learnt,
            lambda: self.fast_steps,
            self._exact_ways,
            self._is_soon_masked,
            self._is_large,
        )

    @cached_property
    def _stacks(self) -> Stacks:
        return Stacks(self._golden, self._learnt)

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

        Trials that hit one input each share a run: a batch of the inputs that they hit,
        or, exactly and where that is not proved to do, the native one. In fast mode,
        faults in one row of a weight are stacked where values are small.
        """
        rest: Sequence[int] = range(len(trials))
        if self._packs:
            ours = [place for place in rest if only_input(trials[place]) is not None]
            yield from self._packing.groups(trials, ours, fast=fast)
            rest = [place for place in rest if only_input(trials[place]) is None]
        if fast and self._switches.stack and self._golden.rows_apart:
            rest = yield from self._stacks.groups(trials, rest, self._fast_alone)
        yield from one_by_one(self, trials, rest, fast=fast)

    @property
    def values(self) -> Golden | None:
        """The golden run, if others may be gathered with it."""
        alike = self._packs and not self._golden.bounded
        return self._golden if alike else None

    def start(self, faults: Sequence[Fault]) -> Start | None:
        """Return where a trial is taken up by a group; nothing to run it alone."""
        # Of the quickest run, as others may have had to wait for the processor.
        quickest = min(self._learnt.found.get("seconds", math.inf), self._seconds)
        self._learnt.found["seconds"] = quickest
        follows = quickest >= _SCREENING_S * self.inputs and self._switches.narrow
        exact = self._stepper if follows else None
        try:
            return started(faults, self._golden, exact, self.fast_steps)
        except Exception:
            # What it raises by itself is for its own run to tell.
            return None

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
        return first_that_runs(ways, deadline)

    def watched(
        self, faults: Sequence[Fault], names: Collection[str]
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output of one trial, and some values inside of the network.

        Args:
            faults: Of the trial; none for the golden run.
            names: Of values of the program.
        """
        changes, corrupt = changes_of(faults, self._golden)

        def run(exact: ExactStepper, deadline: float | None) -> Replayed:
            return Replay(exact, watch=names)(changes, corrupt, deadline=deadline)

        steppers = self._stepper, ExactStepper(self._golden, narrow=False)
        found = first_that_runs([partial(run, each) for each in steppers], None)
        values = {name: found.watched.get(name) for name in names}
        output = found.output(self._golden)
        return self.golden if output is None else output, {
            name: self._golden(name) if value is None else value
            for name, value in values.items()
        }

    def _run_fast(self, faults: Sequence[Fault], deadline: float | None) -> Answer:
        if self._packs and only_input(faults) is not None:
            return self._packing.quick([faults], deadline)
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
        return Answer(found.output(self._golden), found.exact, rows)


def gathering(benches: Sequence[Bench]) -> Gathering | None:
    """Return what runs trials on several batches together, if they can be."""
    ours = [bench for bench in benches if isinstance(bench, CapturedBench)]
    values = [bench.values for bench in ours if bench.values is not None]
    if len(values) < max(len(benches), 2) or len({v.inputs for v in values}) > 1:
        return None
    return Gathering(values, ours[0].fast_steps)


def start_of(bench: Bench, faults: Sequence[Fault]) -> Start | None:
    """Return where a trial on a batch is taken up by a group, if it can be."""
    return bench.start(faults) if isinstance(bench, CapturedBench) else None
