"""Golden runs of batches that trials come back to, kept while there is room."""

from __future__ import annotations

from stoic.campaign.trials import Bay
from stoic.network.subject import Bench

__all__ = ["Benches"]

# Golden values that are kept where the user has set no limit.
_MOST_BYTES = 2 << 30


class Benches:
    """Gives the golden run of the batch at an input.

    The first ones are kept as long as they fit together: trials come to every batch in
    turn, so that to keep the latest ones would be of no use. Where memory is limited
    there is one at a time.

    Args:
        bay: What trials are run on.
    """

    def __init__(self, bay: Bay) -> None:
        self._bay = bay
        self._most = 0 if bay.subject.bounded else _MOST_BYTES
        # Looking and recording need the same runs as the trials.
        self._held = bay.kept

    def __call__(self, start: int) -> Bench:
        """Return a golden run, made anew unless it was kept."""
        if start in self._held:
            return self._held[start]
        if self._bytes() > self._most:
            self._held.clear()
        bench = self._bay.bench(start)
        if not self._held or self._bytes() + bench.nbytes <= self._most:
            self._held[start] = bench
        return bench

    def _bytes(self) -> int:
        return sum(bench.nbytes for bench in self._held.values())
