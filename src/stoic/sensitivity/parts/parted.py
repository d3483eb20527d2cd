"""Steps as they come, in parts that have bounds.

A step that only moves elements, to where inputs are no longer dimension 0 or into
several results, is put off: its elements are taken from where they were when the next
step reads them. So attention that has tokens first, or recurrence, becomes steps with
inputs first. What works along the last dimension alone is run on inputs first as well.
"""

from __future__ import annotations

import operator
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from stoic.network.certified.contract import Call
from stoic.network.certified.rules import bound_of
from stoic.network.program import First, Program, Ref, Step, Values, filled
from stoic.sensitivity.parts.across import Across
from stoic.sensitivity.parts.layouts import Layout, Rows, moved_layout
from stoic.sensitivity.parts.making import Making
from stoic.sensitivity.parts.recipes import RECIPES, TRACED

__all__ = ["Parts"]

_ATEN = torch.ops.aten
_SIZE = _ATEN.sym_size.int


@dataclass(frozen=True)
class Parts:
    """The parts of a program's steps on one batch.

    Args:
        program: In float64.
        values: Golden values; whoever asks for steps adds their results.
        fixed: Names of values that no input reaches; likewise.
        count: How many inputs there are.
    """

    program: Program
    values: Values
    fixed: set[str]
    count: int
    laid: dict[str, Any] = field(default_factory=dict)
    several: dict[str, list[Any]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    def of(self, step: Step) -> Iterator[Step]:
        """Yield what stands for a step; each is run before the next is asked for."""
        if step.op is _SIZE or self.fixed.issuperset(step.inputs):
            yield step
            return
        if step.op is operator.getitem and str(step.args[0].name) in self.several:
            part = self.several[step.args[0].name][step.args[1]]
            yield from self.of(replace(step, op=_ATEN.alias.default, args=(part,)))
            return
        step = self._first(step)
        call = Call(step, self.values.__getitem__, self.fixed)
        if (layout := self._moved(call)) is not None:
            yield from self._put_off(step, layout)
            return
        yield from self._through(step, call)

    def _first(self, step: Step) -> Step:
        """Return a step with the first of several results as one that has it alone."""
        if step.op is not operator.getitem or step.args[1] != 0:
            return step
        source = self.program.by_name.get(step.args[0].name)
        if source is None or source.name in self.laid:
            return step
        return replace(source, name=step.name, op=First(source.op))

    def _moved(self, call: Call) -> Any:
        """Return where a result's elements come from, if it is to be put off."""
        if len(call.reads) != 1:
            return None
        name = call.reads[0]
        layout, value = self.laid.get(name), self.values[name]
        if layout is None:
            if not self._plain(value):
                return None
            places = torch.arange(value.numel()).reshape(value.shape)
            layout = Layout(name, places, value[0].numel())
            moved = moved_layout(call, layout)
            return None if moved is None or self._known(call) else moved
        return moved_layout(call, layout)

    def _plain(self, value: Any) -> bool:
        ours = isinstance(value, Tensor) and value.is_floating_point()
        return ours and value.dim() > 1 and len(value) == self.count

    def _known(self, call: Call) -> bool:
        """Say whether the move has a rule: inputs stay first."""
        result = call.step(self.values.__getitem__)
        if not self._plain(result):
            return False
        self.values[call.step.name] = result
        return bound_of(call, self.count) is not None

    def _put_off(self, step: Step, layout: Any) -> Iterator[Step]:
        name = step.name
        self.values[name] = step(self.values.__getitem__)
        self.laid[name] = layout
        if name in self.program.output_names and isinstance(layout, Layout):
            places = layout.rows(self.count)
            if places is not None:
                yield replace(
                    step, op=Rows(places), args=(Ref(layout.root),), kwargs={}
                )

    def _through(self, step: Step, call: Call) -> Iterator[Step]:
        own = step.op.op if isinstance(step.op, First) else step.op
        laid = [name for name in call.reads if name in self.laid]
        laid = [] if own in TRACED else laid
        ready = (yield from self._taken(step, laid)) if laid else step
        if ready is None:
            yield from self._across(step, call)
            return
        making = Making(ready, self.values, self.fixed)
        op = ready.op.op if isinstance(ready.op, First) else ready.op
        recipe = RECIPES.get(op)
        if recipe is None:
            yield ready
            return
        self.values[step.name] = ready(self.values.__getitem__)
        if recipe(making):
            for part in making.steps:
                yield from self.of(part)
            if making.several:
                self.several[step.name] = making.several
        else:
            yield ready

    def _taken(self, step: Step, laid: list[str]) -> Generator[Step, None, Step | None]:
        """Take what was put off; nothing is returned where inputs are not first."""
        names = {}
        for name in laid:
            layout = self.laid[name]
            if isinstance(layout, list):
                return None
            places = layout.rows(self.count)
            if places is None:
                return None
            if name not in self.taken:
                self.taken[name] = f"{name}.rows"
                op = Rows(places)
                yield replace(
                    step,
                    name=f"{name}.rows",
                    op=op,
                    args=(Ref(layout.root),),
                    kwargs={},
                )
            names[name] = Ref(self.taken[name])
        return _renamed(step, names)

    def _across(self, step: Step, call: Call) -> Iterator[Step]:
        """Run a step of the last dimension on inputs first, and put off going back."""
        layouts = {name: self._layout(name) for name in call.reads}
        across = Across.of(call, layouts, self.count)
        if across is None:
            yield step
            return
        names: dict[str, Any] = {}
        for name, places in across.places.items():
            taken = f"{step.name}.{name}"
            names[name] = Ref(taken)
            root = Ref(layouts[name].root)
            yield replace(step, name=taken, op=Rows(places), args=(root,), kwargs={})
        result = f"{step.name}.rows"
        making = Making(
            replace(_renamed(step, names), name=result), self.values, self.fixed
        )
        across.make(making)
        for part in making.steps:
            yield from self.of(part)
        found = self.values[result]
        self.values[step.name], self.laid[step.name] = across.back(found, result)

    def _layout(self, name: str) -> Any:
        if name in self.laid:
            return self.laid[name]
        value = self.values[name]
        if not self._plain(value):
            return None
        places = torch.arange(value.numel()).reshape(value.shape)
        return Layout(name, places, value[0].numel())


def _renamed(step: Step, names: dict[str, Any]) -> Step:
    def ours(name: str) -> Any:
        return names.get(name, Ref(name))

    args = tuple(filled(arg, ours) for arg in step.args)
    kwargs = {key: filled(arg, ours) for key, arg in step.kwargs.items()}
    return replace(step, args=args, kwargs=kwargs)
