"""Ways to run a trial: the quick ones first, the plain one last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from stoic.network.memory import is_out_of_memory
from stoic.network.replay import TimeLimitError
from stoic.network.subject import Answer

__all__ = ["Way", "first_that_runs"]

T = TypeVar("T")
# Takes a deadline, a time of ``time.monotonic``, or nothing.
Way: TypeAlias = Callable[[float | None], Answer]


def first_that_runs(
    ways: Sequence[Callable[[float | None], T]], deadline: float | None
) -> T:
    """Run one way after the other until one does not raise.

    Only what raises in every way, the plain one too, is the network's crash. Where time
    or memory runs out, no other way is tried.
    """
    *quick, plain = ways
    for way in quick:
        try:
            return way(deadline)
        except TimeLimitError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
    return plain(deadline)
