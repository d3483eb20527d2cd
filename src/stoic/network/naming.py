"""From a golden run to sites: which values have own storage, and what to call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from stoic.faults.formats import format_of
from stoic.network.golden import Golden
from stoic.network.program import Program, Step
from stoic.network.rows import ODD
from stoic.network.sites import Kind, LeftOut, Site

__all__ = ["find_sites"]


def find_sites(
    network: nn.Module, golden: Golden
) -> tuple[tuple[Site, ...], tuple[LeftOut, ...]]:
    """Return the sites of a network, in order of depth, and what is none.

    Args:
        network: The one that was captured.
        golden: A run that keeps all of its values.
    """
    sites = [*_stored(network, golden), *_inputs(golden)]
    left_out = list(_unused(network, golden.program))
    for name, step, reason in _computed(golden):
        if reason:
            left_out.append(LeftOut(name, reason))
        else:
            sites.append(_activation(name, step, golden))
    named = [site for site in sites if format_of(site.dtype) is not None]
    left_out += [
        LeftOut(site.name, f"no words of format {site.dtype}")
        for site in sites
        if format_of(site.dtype) is None
    ]
    return tuple(sorted(named, key=lambda site: site.order)), tuple(left_out)


def _stored(network: nn.Module, golden: Golden) -> Iterator[Site]:
    """Yield parameters and buffers that some step reads, each storage once."""
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    seen: set[str] = set()
    for value, names in golden.program.origins.items():
        if names[0] in seen:
            continue
        seen.add(names[0])
        tensor = golden(value)
        kind: Kind = "parameter" if names[0] in parameters else "buffer"
        readers = golden.program.readers.get(value, ())
        if tensor.numel():
            yield Site(
                name=names[0],
                kind=kind,
                component=names[0].rpartition(".")[0],
                dtype=tensor.dtype,
                shape=tuple(tensor.shape),
                rows=None,
                order=readers[0].order if readers else len(golden.program.steps),
                value=value,
                aliases=names[1:],
            )


def _unused(network: nn.Module, program: Program) -> Iterator[LeftOut]:
    used = {name for names in program.origins.values() for name in names}
    tensors: Iterable[tuple[str, Tensor]] = (
        *network.named_parameters(),
        *network.named_buffers(),
    )
    for name, _ in tensors:
        if name not in used:
            yield LeftOut(name, "the output does not depend on it")


def _inputs(golden: Golden) -> Iterator[Site]:
    for number, value in enumerate(golden.program.inputs):
        tensor = golden(value)
        if isinstance(tensor, Tensor) and golden.program.readers.get(value):
            name = value.removeprefix("kwargs_").removeprefix("args_")
            # Positional inputs have numbers for names.
            name = f"input.{number}" if name.isdigit() else f"input.{name}"
            yield _valued(name, "input", "", value, -1, golden)


def _activation(name: str, step: Step, golden: Golden) -> Site:
    component = step.path.partition("@")[0]
    return _valued(name, "activation", component, step.name, step.order, golden)


def _valued(
    name: str, kind: Kind, component: str, value: str, order: int, golden: Golden
) -> Site:
    tensor = golden(value)
    dim = (golden.rows or {}).get(value, ODD)
    shape = list(tensor.shape)
    if dim >= 0:
        del shape[dim]
    rows = dim if dim >= 0 else None
    return Site(name, kind, component, tensor.dtype, tuple(shape), rows, order, value)


def _computed(golden: Golden) -> Iterator[tuple[str, Step, str]]:
    """Yield the name of each computed tensor and why it is no site, if it is none."""
    names = _names(golden.program)
    owners: dict[int, str] = {}
    for name in (*golden.program.stored, *golden.program.inputs):
        _claim(owners, golden(name), name)
    varied = _varied(golden.program)
    for step in golden.program.steps:
        value = golden(step.name)
        if not isinstance(value, Tensor):
            continue
        if not value.numel():
            yield names[step.name], step, "empty"
        elif step.name not in varied:
            yield names[step.name], step, "made from shapes alone"
        elif _address(value) in owners:
            owner = owners[_address(value)]
            yield names[step.name], step, f"view of {names.get(owner, owner)}"
        else:
            _claim(owners, value, step.name)
            yield names[step.name], step, ""


def _address(value: Tensor) -> int:
    return int(value.untyped_storage().data_ptr())


def _claim(owners: dict[int, str], value: Any, name: str) -> None:
    if isinstance(value, Tensor) and value.numel():
        owners.setdefault(_address(value), name)


def _varied(program: Program) -> set[str]:
    """Return the values computed from an input or a stored tensor, not from sizes."""
    varied = {*program.inputs, *program.origins}
    for step in program.steps:
        if step.operator != "sym_size" and varied.intersection(step.inputs):
            varied.add(step.name)
    return varied


def _names(program: Program) -> dict[str, str]:
    """Return the dotted name of every computed value.

    A module without children names its last tensor ``path:out``; every other value is
    called after its operator, numbered from the second one of a kind in a module.
    """
    last = {step.path: step.name for step in program.steps}
    counts: Counter[tuple[str, str]] = Counter()
    names = {}
    for step in program.steps:
        key = (step.path, step.operator)
        number = f".{counts[key]}" if counts[key] else ""
        counts[key] += 1
        ends = step.leaf and last[step.path] == step.name
        names[step.name] = f"{step.path}:{'out' if ends else step.operator + number}"
    return names
