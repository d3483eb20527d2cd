"""What a rule is: how one operator carries a patch, and how it finds its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from stoic.network.patch import Changed, Changes, Lookup, Patch
from stoic.network.program import Ref, Step, filled, refs

__all__ = ["Call", "Rule"]


@dataclass(frozen=True)
class Call:
    """One operator call with some of its values changed.

    Args:
        step: The call.
        changes: The changed ones among the values it reads.
        golden: Finds any value of the fault-free run.
        fast: Whether a result may differ from a full run in its last bits.
    """

    step: Step
    changes: Changes
    golden: Lookup
    fast: bool

    def arg(self, position: int, default: Any = None) -> Any:
        """Return a positional argument with its golden values."""
        args = self.step.args
        return filled(args[position], self.golden) if position < len(args) else default

    def change(self, position: int) -> Changed | None:
        """Return the change of a positional argument, if it has one."""
        args = self.step.args
        arg = args[position] if position < len(args) else None
        return self.changes.get(arg.name) if isinstance(arg, Ref) else None

    def patch(self, position: int) -> Patch | None:
        """Return the change of an argument if it is a patch."""
        change = self.change(position)
        return change if isinstance(change, Patch) else None

    def among(self, positions: Iterable[int]) -> dict[int, Patch]:
        """Return the patches of some arguments; none if anything else is changed."""
        found = {p: patch for p in positions if (patch := self.patch(p)) is not None}
        ours = [self.step.args[position].name for position in found]
        reads = list(refs((self.step.args, dict(self.step.kwargs))))
        alone = all(reads.count(name) == ours.count(name) for name in self.changes)
        return found if alone else {}

    def only(self, position: int) -> Patch | None:
        """Return the patch of an argument if nothing else is changed in any place."""
        return self.among([position]).get(position)

    def result(self) -> Tensor:
        """Return the golden result."""
        found = self.golden(self.step.name)
        assert isinstance(found, Tensor)
        return found

    def again(self, position: int, value: Any) -> Any:
        """Run the operator with one positional argument replaced."""
        args = [filled(arg, self.golden) for arg in self.step.args]
        args[position] = value
        kwargs = {k: filled(v, self.golden) for k, v in self.step.kwargs.items()}
        return self.step.op(*args, **kwargs)


Rule: TypeAlias = Callable[[Call], Changed | None]
