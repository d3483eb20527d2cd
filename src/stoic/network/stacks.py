"""Faults in one row of a weight, stacked as a batch larger than the native one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stoic.faults.formats import format_of
from stoic.faults.space import Fault
from stoic.network.fast import TooLargeError
from stoic.network.golden import Golden, Selected
from stoic.network.learnt import Learnt
from stoic.network.memory import one_thread, second_time
from stoic.network.patch import Changes, Patch, overlaid
from stoic.network.program import Ref, Step
from stoic.network.replay import Replay
from stoic.network.rules import Call, rule_for
from stoic.network.rules.contraction import CONVOLUTIONS
from stoic.network.sizes import near_overflow
from stoic.network.subject import Answer, Group, Rows, Trials

__all__ = ["Stacks"]

Groups = Generator[Group, None, list[int]]
Alone = Callable[[Sequence[Fault]], object]

# A stack's largest value should stay in the cache.
_STACK_BYTES = 16 << 20
_UNTRIED = 1 << 62
_SIZES_KEPT = 8
_ATEN = torch.ops.aten


class Stacks:
    """Faults in one row of a weight: the same channel in many versions at once.

    Args:
        golden: The run whose values are repeated for every fault.
        learnt: What has been timed on other batches of its size.
    """

    def __init__(self, golden: Golden, learnt: Learnt) -> None:
        self._golden = golden
        self._selected: dict[int, Selected] = {}
        self._readers: dict[str, tuple[Step, int] | None] = {}
        self._least, self._tried = learnt.pays, learnt.tried

    def groups(self, trials: Trials, places: Sequence[int], alone: Alone) -> Groups:
        """Yield groups of faults that can be stacked, if there are some that pay.

        Args:
            trials: Some of which may share a row of a weight.
            places: Of those that are meant.
            alone: Runs one trial, to be timed against its share of a stack.

        Returns:
            The places of the other trials.
        """
        by_row: dict[tuple[str, int], list[int]] = defaultdict(list)
        rest = []
        for place in places:
            row = self._row(trials[place])
            if row is None:
                rest.append(place)
            else:
                by_row[row].append(place)
        for (value, _), members in by_row.items():
            most = self._most(value)
            few = [trials[place][0] for place in members[:most]]
            if len(few) < 2 or not self._pays(value, few, alone):
                rest += members
                continue
            for start in range(0, len(members), most):
                stack = members[start : start + most]
                if len(stack) == 1:
                    rest += stack
                    continue
                faults = [trials[place][0] for place in stack]
                yield Group(stack, partial(self.run, faults))
        return rest

    def _pays(self, value: str, faults: list[Fault], alone: Alone) -> bool:
        """Say whether a stack takes less time than its faults alone, tried out once.

        More faults in a stack pay more: what pays for few is not tried again.
        """
        least = self._least.get(value, _UNTRIED)
        if len(faults) >= least:
            return True
        if len(faults) <= self._tried.get(value, 1):
            return False
        # Of a few, as one that is too large to be run quickly ends early.
        single = max(second_time(partial(alone, [fault])) for fault in faults[:3])
        if second_time(lambda: self.run(faults, None)) < single * len(faults):
            self._least[value] = len(faults)
            return True
        self._tried[value] = len(faults)
        return False

    def _row(self, faults: Sequence[Fault]) -> tuple[str, int] | None:
        """Return the value and row that a trial's only fault hits, if it can stack."""
        if len(faults) != 1 or faults[0].site.kind != "parameter":
            return None
        site = faults[0].site
        if self._reader(site.value) is None or not site.shape[0]:
            return None
        return site.value, faults[0].element // (site.elements // site.shape[0])

    def _reader(self, value: str) -> tuple[Step, int] | None:
        """Return the only step that reads a weight or bias by rows, and where."""
        if value not in self._readers:
            self._readers[value] = self._find_reader(value)
        return self._readers[value]

    def _find_reader(self, value: str) -> tuple[Step, int] | None:
        readers = self._golden.program.readers.get(value, ())
        if len(readers) != 1 or len(self._golden.program.origins[value]) > 1:
            return None
        step = readers[0]
        if self._golden.dim(step.name) is None:
            return None
        known = step.op in (*CONVOLUTIONS, _ATEN.linear.default) and not step.kwargs
        for place in (1, 2):
            if known and len(step.args) > place and step.args[place] == Ref(value):
                return step, place
        return None

    def _most(self, value: str) -> int:
        """Return how many faults in a value a stack may hold: few above large ones."""
        found = self._reader(value)
        assert found is not None
        steps = self._golden.program.steps[found[0].order :]
        sizes = [self._golden.nbytes[step.name] for step in steps]
        most = _STACK_BYTES // max(max(sizes), 1)
        if self._golden.bounded:
            # All values of a stack are held at once.
            most = min(most, self._golden.again_bytes // max(sum(sizes), 1))
        return int(most)

    def run(self, faults: Sequence[Fault], deadline: float | None) -> Answer:
        """Run faults of one row as a batch of their own, fault by fault."""
        with one_thread():
            return self._run(faults, deadline)

    def _run(self, faults: Sequence[Fault], deadline: float | None) -> Answer:
        found = self._reader(faults[0].site.value)
        assert found is not None
        step, place = found
        count = len(faults)
        selected = self._select(count)
        dim, row, versions = _channel(step, place, faults, self._golden)
        sizes = versions.reshape(count, -1).abs().amax(1)
        tame = sizes < torch.finfo(versions.dtype).max ** 0.5
        # Replaced, so that they harm nobody: they are run alone.
        versions[~tame] = 0
        where = self._golden.dim(step.name)
        assert where is not None
        patch = Patch(dim, row, where.joined(versions))
        replay = Replay(_StackStepper(selected, self._golden.loud), exit_masked=False)
        run = replay({step.name: patch}, deadline=deadline)
        left = tuple(torch.nonzero(~tame).flatten().tolist())
        rows = Rows.of_many(count, self._golden.inputs)
        return Answer(run.output(selected), False, rows, left)

    def _select(self, count: int) -> Selected:
        """Return the golden values repeated for so many faults."""
        if count not in self._selected:
            if self._golden.bounded or len(self._selected) > _SIZES_KEPT:
                self._selected.clear()
            rows = torch.arange(self._golden.inputs).repeat(count)
            self._selected[count] = Selected(self._golden, rows)
        return self._selected[count]


class _StackStepper:
    """Run steps on a stack: last bits depend on its size, so nothing is exact."""

    def __init__(self, golden: Selected, loud: Collection[str]) -> None:
        self.golden = golden
        self._loud = loud

    def __call__(
        self, step: Step, changes: Changes, *, hit: bool = False
    ) -> tuple[Any, bool]:
        patched = any(isinstance(change, Patch) for change in changes.values())
        rule = rule_for(step) if patched else None
        result = None
        if rule is not None:
            result = rule(Call(step, changes, self.golden, fast=True))
        if result is None:
            result = step(overlaid(changes, self.golden))
        if step.name not in self._loud and near_overflow(result):
            raise TooLargeError
        return result, False


def _channel(
    step: Step, place: int, faults: Sequence[Fault], golden: Golden
) -> tuple[int, int, Tensor]:
    """Return the dimension and place of the touched channel, and it for every fault."""
    site = faults[0].site
    inner = site.elements // site.shape[0]
    row = faults[0].element // inner
    rows = _versions(faults, golden(site.value).narrow(0, row, 1), row * inner)
    weight = rows if place == 1 else golden(step.args[1].name).narrow(0, row, 1)
    bias = _bias(step, golden, row) if place == 1 else rows.reshape(-1)
    if step.op in CONVOLUTIONS:
        return 1, row, _convolved(step, golden, row, weight, bias)
    value = golden(step.args[0].name)
    versions = torch.nn.functional.linear(value, weight) + bias
    return value.dim() - 1, row, versions.movedim(-1, 0).unsqueeze(-1)


def _versions(faults: Sequence[Fault], row: Tensor, first: int) -> Tensor:
    """Return a row of a tensor once for every fault, with the fault in it."""
    format = format_of(row.dtype)
    assert format is not None
    count = len(faults)
    words = row.reshape(1, -1).repeat(count, 1).view(format.word)
    places = torch.tensor([fault.element - first for fault in faults])
    keep = torch.tensor([_signed(f.corruption.keep, format.width) for f in faults])
    flip = torch.tensor([_signed(f.corruption.flip, format.width) for f in faults])
    at = (torch.arange(count), places)
    kept, flipped = (word.to(words.device, format.word) for word in (keep, flip))
    words[at] = (words[at] & kept) ^ flipped
    versions: Tensor = words.view(row.dtype).reshape(count, *row.shape[1:])
    return versions


def _signed(word: int, width: int) -> int:
    return word - (1 << width) if word >> (width - 1) else word


def _bias(step: Step, golden: Golden, row: int) -> Any:
    arg = step.args[2] if len(step.args) > 2 else None
    return golden(arg.name)[row] if isinstance(arg, Ref) else 0


def _convolved(
    step: Step, golden: Golden, row: int, weight: Tensor, bias: Any
) -> Tensor:
    """Return the touched channel for each version of its filter or bias."""
    value = golden(step.args[0].name)
    groups = step.args[6] if len(step.args) > 6 else 1
    if groups > 1:
        inside = weight.shape[1]
        filters = golden(step.args[1].name).shape[0] // groups
        value = value.narrow(1, row // filters * inside, inside)
    found: Tensor = step.op(value, weight, None, *step.args[3:6])
    channels = found.transpose(0, 1)
    if isinstance(bias, Tensor) and bias.dim():
        bias = bias.reshape(-1, *[1] * (channels.dim() - 1))
    versions: Tensor = (channels + bias).unsqueeze(2)
    return versions
