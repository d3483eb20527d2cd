"""From a golden run to sites: which values have own storage, and what to call them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from stoic.faults.formats import format_of
from stoic.network.golden import Golden
from stoic.network.program import Program, Ref, Step, as_reshape
from stoic.network.rows import ODD, SAME, RowDim
from stoic.network.sites import Kind, LeftOut, Site

__all__ = ["find_sites", "input_name"]


# Of a value without rows, and of one in which they lie merged with something else.
_NONE = -1
_MERGED = -3
_Dims: TypeAlias = dict[str, int]


def find_sites(
    network: nn.Module, golden: Golden, inputs: Sequence[str]
) -> tuple[tuple[Site, ...], tuple[LeftOut, ...]]:
    """Return the sites of a network, in order of depth, and what is none.

    Args:
        network: The one that was captured.
        golden: A run that keeps all of its values.
        inputs: What the user calls the inputs.
    """
    dims = _row_dims(golden)
    called = dict(zip(golden.program.inputs, map(input_name, inputs), strict=True))
    sites = [*_stored(network, golden), *_inputs(golden, dims, called)]
    left_out = list(_unused(network, golden.program))
    for name, step, reason in _told_apart(golden, dims, _computed(golden, called)):
        if reason:
            left_out.append(LeftOut(name, reason))
        else:
            sites.append(_activation(name, step, golden, dims))
    named = [site for site in sites if format_of(site.dtype) is not None]
    left_out += [
        LeftOut(site.name, f"no words of format {site.dtype}")
        for site in sites
        if format_of(site.dtype) is None
    ]
    return tuple(sorted(named, key=lambda site: site.order)), tuple(left_out)


def _row_dims(golden: Golden) -> _Dims:
    """Return along which dimension the inputs lie in each value.

    Unlike the halves test, by sizes alone: rows may depend on each other and still be
    told apart.
    """
    program, rows = golden.program, golden.rows or {}
    dims = {name: _own_dim(row) for name, row in rows.items()}
    if ODD in rows.values():
        doubled = program.run([_doubled(golden(name)) for name in program.inputs])
        odd = [name for name, row in rows.items() if row == ODD]
        dims |= {n: _grown_dim(golden(n), doubled[n], golden.inputs) for n in odd}
    return dims


def _own_dim(row: RowDim) -> int:
    if row == SAME:
        return _NONE
    return row.dim if row.alone else _MERGED


def _doubled(leaf: Any) -> Any:
    has_rows = isinstance(leaf, Tensor) and leaf.dim()
    return torch.cat([leaf, leaf]) if has_rows else leaf


def _grown_dim(value: Any, doubled: Any, inputs: int) -> int:
    if not isinstance(value, Tensor) or value.shape == doubled.shape:
        return _NONE
    if value.dim() != doubled.dim():
        return _MERGED
    grown = [d for d in range(value.dim()) if value.shape[d] != doubled.shape[d]]
    apart = len(grown) == 1 and value.shape[grown[0]] == inputs
    return grown[0] if apart else _MERGED


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


def _inputs(golden: Golden, dims: _Dims, called: Mapping[str, str]) -> Iterator[Site]:
    program = golden.program
    for value, name in called.items():
        read = program.readers.get(value) or value in program.output_names
        if isinstance(golden(value), Tensor) and read:
            yield _valued(name, "input", "", value, -1, golden(value), dims)


def input_name(name: str) -> str:
    """Return the name of an input as a site: positional ones have numbers."""
    return f"input.{name}"


def _activation(name: str, step: Step, golden: Golden, dims: _Dims) -> Site:
    component, tensor = step.path.partition("@")[0], golden(step.name)
    return _valued(name, "activation", component, step.name, step.order, tensor, dims)


def _valued(
    name: str,
    kind: Kind,
    component: str,
    value: str,
    order: int,
    tensor: Tensor,
    dims: _Dims,
) -> Site:
    dim = dims.get(value, _NONE)
    shape = list(tensor.shape)
    if dim >= 0:
        del shape[dim]
    rows = dim if dim >= 0 else None
    return Site(name, kind, component, tensor.dtype, tuple(shape), rows, order, value)


_Candidates: TypeAlias = Iterable[tuple[str, Step, str]]


def _told_apart(golden: Golden, dims: _Dims, found: _Candidates) -> _Candidates:
    """Replace or leave out sites in which the inputs lie merged with something else.

    Batch times tokens, say: then a reshaped view of the same words has a row for each
    input, or else nobody could say which words are whose.
    """
    candidates, names = list(found), _names(golden.program)
    faces: dict[str, tuple[str, Step | None]] = {}
    for name, step, reason in candidates:
        if dims.get(step.name) == _MERGED and not reason:
            view = _view_with_rows(step, golden, dims)
            shown = names[view.name] if view else name
            faces[name] = (shown if shown.endswith(":out") else name, view)
    renamed = {f"view of {old}": f"view of {new}" for old, (new, _) in faces.items()}
    taken = {face for face, _ in faces.values()}
    for name, step, reason in candidates:
        if reason and name not in taken:
            yield name, step, renamed.get(reason, reason)
        elif not reason:
            face, view = faces.get(name, (name, step))
            yield face, view or step, "" if view else "the inputs lie merged in it"


def _view_with_rows(step: Step, golden: Golden, dims: _Dims) -> Step | None:
    """Return the step that shows all words of a value, and nothing else reads them."""
    program = golden.program
    while dims[step.name] == _MERGED:
        readers = program.readers.get(step.name, ())
        if len(readers) != 1 or step.name in program.output_names:
            return None
        (reader,) = readers
        value, shown = golden(step.name), golden(reader.name)
        if not isinstance(shown, Tensor) or shown.numel() != value.numel():
            return None
        if _address(shown) != _address(value):
            return None
        step = reader
    return step if dims[step.name] >= 0 else None


def _computed(golden: Golden, called: Mapping[str, str]) -> _Candidates:
    """Yield the name of each computed tensor and why it is no site, if it is none."""
    names = _names(golden.program)
    titles = {**names, **called}
    titles |= {v: aliases[0] for v, aliases in golden.program.origins.items()}
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
            title = titles.get(owner, "a constant")
            yield names[step.name], step, f"view of {title}"
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

    A module without children names its last result ``path:out``; every other value is
    called after its operator, numbered from the second one of a kind in a module. Of
    several results of one call, the second one is ``#1``.
    """
    last = {step.path: step.name for step in program.steps if not _picks(step)}
    counts: Counter[tuple[str, str]] = Counter()
    names: dict[str, str] = {}
    for step in program.steps:
        if _picks(step):
            whole, place = step.args
            names[step.name] = names[whole.name] + (f"#{place}" if place else "")
            continue
        called = "reshape" if step.op is as_reshape else step.operator
        key = (step.path, called)
        number = f".{counts[key]}" if counts[key] else ""
        counts[key] += 1
        ends = step.leaf and last[step.path] == step.name
        names[step.name] = f"{step.path}:{'out' if ends else called + number}"
    return names


def _picks(step: Step) -> bool:
    """Tell a step that picks one of several results of a call."""
    return step.op is operator.getitem and isinstance(step.args[0], Ref)
