"""Trials by replay of a captured program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoic.faults.space import Fault
from stoic.network.golden import Golden
from stoic.network.inject import changes_of, words_of
from stoic.network.program import Program
from stoic.network.replay import Replay, Switches
from stoic.network.rows import RowDims
from stoic.network.sites import LeftOut, Site
from stoic.network.subject import Answer, Inputs

__all__ = ["CapturedBench", "CapturedSubject"]


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
        self._exact = Replay(golden, switches)
        self._fast = Replay(golden, replace(switches, sums=True))
        self.golden = golden.answer

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        return words_of(fault, self._golden(fault.site.value))

    def trial(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Replay what lies downstream of some faults."""
        changes, corrupt = changes_of(faults, self._golden)
        replay = self._fast if fast else self._exact
        found = replay(changes, corrupt, deadline=deadline)
        if not found.outputs:
            return Answer(None, found.exact)

        def lookup(name: str) -> Any:
            changed = found.outputs.get(name)
            return self._golden(name) if changed is None else changed

        return Answer(self._golden.program.answer(lookup), found.exact)
