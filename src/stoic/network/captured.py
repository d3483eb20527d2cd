"""Trials by replay of a captured program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stoic.faults.space import Fault
from stoic.network.exact import ExactStepper
from stoic.network.fast import FastStepper, TooLargeError
from stoic.network.golden import Golden
from stoic.network.inject import changes_of, words_of
from stoic.network.program import Program
from stoic.network.replay import Replay, Replayed
from stoic.network.rows import RowDims
from stoic.network.sites import LeftOut, Site
from stoic.network.subject import Answer, Inputs

__all__ = ["CapturedBench", "CapturedSubject", "Switches"]


@dataclass(frozen=True)
class Switches:
    """Optimisations, each proved equal to the serial suffix and each to be turned off.

    Args:
        narrow: Compute only the touched channel or row where an operator allows it.
        exit_masked: Stop where every deviation has vanished.
        sums: Fast mode: add a deviation's part to the golden result.
        fold: Fast mode: fold batch norms into convolutions, in the quicker layout.
    """

    narrow: bool = True
    exit_masked: bool = True
    sums: bool = True
    fold: bool = True


@dataclass(frozen=True)
class CapturedSubject:
    """A captured network.

    Args:
        fused_attention: Whether the network's own output equals the program's only
            with the fused attention path off.
        reason: Nothing: this is the quick path.
    """

    program: Program
    rows: RowDims | None
    sites: tuple[Site, ...]
    left_out: tuple[LeftOut, ...]
    switches: Switches
    fused_attention: bool = False
    reason: str | None = None

    def bench(self, inputs: Inputs) -> CapturedBench:
        """Run one batch without a fault."""
        golden = Golden(self.program, inputs.leaves, self.rows)
        return CapturedBench(golden, self.switches)


class CapturedBench:
    """A golden run and the replays against it."""

    def __init__(self, golden: Golden, switches: Switches) -> None:
        self._golden = golden
        self._switches = switches
        self._stepper = ExactStepper(golden, narrow=switches.narrow)
        self._exact = Replay(self._stepper, exit_masked=switches.exit_masked)
        self.golden = golden.answer

    @cached_property
    def _fast(self) -> Replay:
        switches = self._switches
        stepper = FastStepper(
            self._golden, self._stepper, sums=switches.sums, fold=switches.fold
        )
        return Replay(stepper, exit_masked=switches.exit_masked)

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        return words_of(fault, self._golden(fault.site.value))

    def trial(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Replay what lies downstream of some faults."""
        changes, corrupt = changes_of(faults, self._golden)
        if fast:
            try:
                return self._answer(self._fast(changes, corrupt, deadline=deadline))
            except TooLargeError:
                pass
        return self._answer(self._exact(changes, corrupt, deadline=deadline))

    def _answer(self, found: Replayed) -> Answer:
        if not found.outputs:
            return Answer(None, found.exact)

        def lookup(name: str) -> Any:
            changed = found.outputs.get(name)
            return self._golden(name) if changed is None else changed

        return Answer(self._golden.program.answer(lookup), found.exact)
