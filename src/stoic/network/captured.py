"""Trials by replay of a captured program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from numpy.typing import NDArray

from stoic.faults.formats import flat_words, value_of
from stoic.faults.space import Fault
from stoic.network.budget import Budget
from stoic.network.exact import ExactStepper, Screen
from stoic.network.fast import FastStepper, TooLargeError, too_large
from stoic.network.golden import Golden
from stoic.network.inject import changes_of, words_of
from stoic.network.memory import now
from stoic.network.program import Program
from stoic.network.replay import Replay, Replayed, TimeLimitError
from stoic.network.rows import RowDims
from stoic.network.sites import LeftOut, Site
from stoic.network.stacks import Stacks, packs
from stoic.network.subject import Answer, Inputs, Rows, only_rows

__all__ = ["CapturedBench", "CapturedSubject", "Switches"]

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
    def _fast(self) -> Replay:
        switches = self._switches
        stepper = FastStepper(
            self._golden, self._stepper, sums=switches.sums, fold=switches.fold
        )
        return Replay(stepper, exit_masked=switches.exit_masked)

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

    def groups(
        self, trials: Sequence[Sequence[Fault]], *, fast: bool
    ) -> Iterator[list[int]]:
        """Yield places of trials to be run together, every place once.

        Trials that hit one input each, and not the same, share a run. In fast mode,
        faults in one row of a weight are stacked where values are small.
        """
        rest = list(range(len(trials)))
        if self._switches.pack and self._golden.rows_apart:
            masked = [place for place in rest if self._is_soon_masked(trials[place])]
            yield from ([place] for place in masked)
            rest = sorted(set(rest) - set(masked))
            # One fault that fast steps refuse would hold up all that share its pack.
            large = [
                place
                for place in rest
                if fast
                and trials[place][0].input is not None
                and self._is_large(trials[place])
            ]
            tame = sorted(set(rest) - set(large))
            rest = yield from packs(trials, tame)
            rest += yield from packs(trials, large)
        if fast and self._switches.stack and self._golden.rows_apart:
            rest = yield from self._stacks.groups(trials, rest, self._fast_alone)
        yield from ([place] for place in rest)

    def _is_soon_masked(self, faults: Sequence[Fault]) -> bool:
        """Say whether a fault in one input is masked before any step runs whole.

        Only asked where a share of a pack takes longer than to find that out.
        """
        share = self._seconds / self._golden.inputs
        if faults[0].input is None or share < _SCREENING_S or not self._switches.narrow:
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
        self,
        trials: Sequence[Sequence[Fault]],
        *,
        fast: bool,
        deadline: float | None,
    ) -> Answer:
        """Replay what lies downstream of the faults of a group."""
        rows = only_rows(trials, self.inputs)
        if rows is None and len(trials) > 1:
            return self._stacks.run([faults[0] for faults in trials], deadline)
        faults = list(chain(*trials))
        # Steps see how large a fault is only where it is the first.
        fast = fast and not (len(faults) > 1 and self._is_large(faults))
        changes, corrupt = changes_of(faults, self._golden)
        # Only what raises in every way, the plain one too, is the network's crash.
        for way in (self._fast, self._exact) if fast else (self._exact,):
            try:
                return self._answer(way(changes, corrupt, deadline=deadline), rows)
            except (TimeLimitError, MemoryError, torch.OutOfMemoryError):
                raise
            except Exception:
                continue
        return self._answer(self._plain(changes, corrupt, deadline=deadline), rows)

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
