"""The slow path: faults in place and full forwards, for networks not to be captured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.faults.formats import format_of, read_word, write_word
from stoic.faults.space import Fault
from stoic.network.inject import corrupted, words_of
from stoic.network.patch import whole
from stoic.network.replay import TimeLimitError
from stoic.network.sites import Kind, LeftOut, Site
from stoic.network.subject import (
    Answer,
    Group,
    Inputs,
    Trials,
    one_by_one,
    only_rows,
    same_leaves,
)
from stoic.network.untouched import untouched

__all__ = [
    "GeneralBench",
    "GeneralSubject",
    "held",
    "stored_tensor",
    "with_faults",
]


@dataclass(frozen=True)
class GeneralSubject:
    """A network that is run as it is."""

    network: nn.Module
    sites: tuple[Site, ...]
    left_out: tuple[LeftOut, ...]
    reason: str | None

    @classmethod
    def of(cls, network: nn.Module, example: Inputs, reason: str) -> GeneralSubject:
        """Find the sites of a network by watching one run.

        Args:
            network: In evaluation mode.
            example: A few inputs.
            reason: Why it was not captured.
        """
        stored, left_out = _told_apart(network)
        orders = {site.component: site.order for site in stored}
        with _recorded(network) as outputs:
            network(*example.args, **example.kwargs)
        made = [
            _output(path, value, example.count, orders.get(path, order))
            for order, (path, value) in enumerate(outputs.items())
        ]
        given = list(_given(example))
        sites = sorted((*given, *stored, *made), key=lambda site: site.order)
        return cls(network, tuple(sites), tuple(left_out), reason)

    @property
    def bounded(self) -> bool:
        """Whether memory is limited: there is little to keep."""
        return False

    def bench(self, inputs: Inputs) -> GeneralBench:
        """Run one batch without a fault."""
        return GeneralBench(self.network, inputs)


def _told_apart(network: nn.Module) -> tuple[list[Site], list[LeftOut]]:
    """Return the stored tensors that are sites, and why the others are none.

    Whether a tensor is read at all can only be seen in a graph.
    """
    sites, left_out = [], []
    for site in _stored(network):
        counter = site.name.rpartition(".")[2] == "num_batches_tracked"
        if format_of(site.dtype) is None or not site.elements or counter:
            reason = "a counter, empty, or of a format without words"
            left_out.append(LeftOut(site.name, reason))
        else:
            sites.append(site)
    return sites, left_out


def _stored(network: nn.Module) -> Iterator[Site]:
    parameters = {name for name, _ in network.named_parameters()}
    modules = {path: number for number, (path, _) in enumerate(network.named_modules())}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        kind: Kind = "parameter" if name in parameters else "buffer"
        component, shape = name.rpartition(".")[0], tuple(tensor.shape)
        order = modules[component]
        yield Site(name, kind, component, tensor.dtype, shape, None, order, name)


def _given(example: Inputs) -> Iterator[Site]:
    """Yield the inputs; their value is their place among the leaves."""
    leaves = zip(example.names, example.leaves, strict=True)
    for place, (name, leaf) in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.dim() and format_of(leaf.dtype):
            shape = tuple(leaf.shape[1:])
            yield Site(
                f"input.{name}", "input", "", leaf.dtype, shape, 0, -1, str(place)
            )


@contextmanager
def _recorded(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Watch the tensors that modules without children return."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for path, module in network.named_modules():
            if next(module.children(), None) is None:

                def hook(own: Any, given: Any, value: Any, path: str = path) -> None:
                    if not isinstance(value, Tensor) or _passed_on(own, given, value):
                        return
                    if path not in seen:
                        # A module that follows may write to it.
                        seen[path] = value.clone()

                handle = module.register_forward_hook(hook)
                hooks.callback(handle.remove)
        yield seen


def _passed_on(module: nn.Module, given: tuple[Any, ...], value: Tensor) -> bool:
    """Say whether a module returns its input, or a view of it, as it was."""
    place = value.untyped_storage().data_ptr()
    tensors = (tensor for tensor in given if isinstance(tensor, Tensor))
    shared = any(tensor.untyped_storage().data_ptr() == place for tensor in tensors)
    return shared and not getattr(module, "inplace", False)


def _output(path: str, value: Tensor, inputs: int, order: int) -> Site:
    rows = 0 if value.dim() and value.shape[0] == inputs else None
    shape = tuple(value.shape[1:] if rows == 0 else value.shape)
    return Site(
        f"{path}:out", "activation", path, value.dtype, shape, rows, order, path
    )


class GeneralBench:
    """A batch and the network itself."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self._network = network
        self._inputs = inputs
        with untouched(network), _recorded(network) as self._outputs:
            self.golden = network(*inputs.args, **inputs.kwargs)

    def words(self, fault: Fault) -> tuple[int, int]:
        """Return the word that a fault hits, before and after."""
        site = fault.site
        if site.kind == "activation":
            return words_of(fault, self._outputs[site.value])
        if site.kind == "input":
            return words_of(fault, self._inputs.leaves[int(site.value)])
        return words_of(fault, _tensor(self._network, site.name))

    @property
    def nbytes(self) -> int:
        """Bytes of the golden values that it holds: outputs only."""
        leaves = pytree.tree_leaves(self.golden)
        return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def inputs(self) -> int:
        """Number of inputs in the batch."""
        return self._inputs.count

    def groups(self, trials: Trials, *, fast: bool) -> Iterator[Group]:
        """Yield every trial by itself."""
        return one_by_one(self, trials, range(len(trials)), fast=fast)

    def run(
        self, faults: Sequence[Fault], *, fast: bool, deadline: float | None
    ) -> Answer:
        """Run the whole network with the faults of one trial held in place."""
        output = self._forward(faults)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeLimitError("time limit reached by a full run")
        if same_leaves(output, self.golden):
            return Answer(None, True)
        return Answer(output, True, only_rows([faults], self.inputs))

    def _forward(self, faults: Sequence[Fault]) -> Any:
        given = [fault for fault in faults if fault.site.kind == "input"]
        inputs = with_faults(self._inputs, given, int)
        inside = [fault for fault in faults if fault.site.kind != "input"]
        with untouched(self._network), held(self._network, inside):
            return self._network(*inputs.args, **inputs.kwargs)


@contextmanager
def held(network: nn.Module, faults: Sequence[Fault]) -> Iterator[None]:
    """Hold faults in a network inside the block; afterwards every word is as before.

    Faults in stored tensors are written in place; those in the output of a module are
    applied by a hook to its first call.
    """
    by_path: dict[str, list[Fault]] = {}
    with ExitStack() as undo:
        for fault in faults:
            if fault.site.kind == "activation":
                by_path.setdefault(fault.site.value, []).append(fault)
            else:
                undo.enter_context(_word_held(_tensor(network, fault.site.name), fault))
        for path, together in by_path.items():
            undo.enter_context(_output_held(network.get_submodule(path), together))
        yield


@contextmanager
def _word_held(tensor: Tensor, fault: Fault) -> Iterator[None]:
    golden = read_word(tensor, fault.element)
    try:
        write_word(tensor, fault.element, fault.corruption(golden))
        yield
    finally:
        write_word(tensor, fault.element, golden)


@contextmanager
def _output_held(module: nn.Module, faults: list[Fault]) -> Iterator[None]:
    pending = [True]

    def hook(_: Any, __: Any, value: Tensor) -> Tensor | None:
        if not pending:
            return None
        pending.clear()
        faulty: Tensor = whole(corrupted(faults, value), value)
        return faulty

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def stored_tensor(network: nn.Module, site: Site) -> Tensor:
    """Return the parameter or buffer that a site is."""
    return _tensor(network, site.name)


def _tensor(network: nn.Module, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    found = getattr(network.get_submodule(owner), last)
    assert isinstance(found, Tensor)
    return found.detach()


def with_faults(
    inputs: Inputs, faults: Sequence[Fault], place: Callable[[str], int]
) -> Inputs:
    """Return inputs with faults in them; the inputs themselves stay as they are.

    Args:
        inputs: Golden.
        faults: In inputs.
        place: Gives the leaf of a site's value.
    """
    leaves = inputs.leaves
    for value in {fault.site.value for fault in faults}:
        own = [fault for fault in faults if fault.site.value == value]
        golden = leaves[place(value)]
        leaves[place(value)] = whole(corrupted(own, golden), golden)
    return inputs.with_leaves(leaves)
