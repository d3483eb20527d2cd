"""Capture: from a network and example inputs to a functional program."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, InputSpec, OutputKind
from torch.fx.experimental.symbolic_shapes import free_symbols
from torch.utils import _pytree as pytree

from stoic.network.program import First, Program, Ref, Step, as_reshape, refs
from stoic.network.unstated import stated

__all__ = ["CaptureError", "capture"]

_ATEN = torch.ops.aten
# Shape checks of the example run: a fault may trip them, which is no crash.
_CHECKS = ("_assert", "sym_constrain", "_functional_assert")


class CaptureError(RuntimeError):
    """The network cannot be captured; the message says why in one line."""


def capture(
    network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Program:
    """Return the program of a network, with a free batch size where it has one.

    The network is left as it was; the program shares its tensors and must not
    write to them.

    Args:
        network: In evaluation mode.
        args: Example positional inputs, of at least two rows.
        kwargs: Example keyword inputs.

    Raises:
        CaptureError: ``torch.export`` refuses the network, or a stored tensor is a view
            of another one, so that one fault hits both in different places.
    """
    _refuse_views(network)
    reason: Exception | None = None
    for dim in (Dim.DYNAMIC, Dim.AUTO, None):
        try:
            exported = _exported(network, args, dict(kwargs), dim)
        except Exception as error:  # noqa: BLE001 - export raises anything
            reason = reason or error
            continue
        return _program(network, exported)
    raise CaptureError(_first_line(reason)) from reason


def _refuse_views(network: nn.Module) -> None:
    spans: dict[int, list[tuple[int, int, str, tuple[Any, ...]]]] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta or not tensor.numel():
            continue
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        words = 1 + sum((size - 1) * stride for size, stride in strides)
        span = (tensor.data_ptr(), tensor.data_ptr() + words * tensor.element_size())
        storage = tensor.untyped_storage().data_ptr()
        for start, end, other, place in spans.setdefault(storage, []):
            if span[0] < end and start < span[1] and place != _place(tensor):
                raise CaptureError(f"{name} is a view of {other}")
        spans[storage].append((*span, name, _place(tensor)))


def _exported(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dim: Any
) -> ExportedProgram:
    def rows(leaf: Any) -> dict[int, Any] | None:
        free = isinstance(leaf, Tensor) and leaf.dim() > 0 and dim is not None
        return {0: dim} if free else None

    shapes = (pytree.tree_map(rows, args), pytree.tree_map(rows, kwargs))
    with torch.no_grad(), _silenced():
        exported = export(_Call(network), (args, kwargs), dynamic_shapes=shapes)
        functional: ExportedProgram = exported.run_decompositions({})
        return functional


class _Call(nn.Module):
    """Give every network the same two arguments: positional and keyword inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.network(*args, **kwargs)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the graph dumps and warnings of export from the user's terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _first_line(error: Exception | None) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _program(network: nn.Module, exported: ExportedProgram) -> Program:
    nodes = list(exported.graph_module.graph.nodes)
    stored, origins = _stored(network, exported, nodes)
    outputs = _outputs(exported, nodes)
    steps = _live(_steps(network, nodes), outputs)
    used = {*refs(outputs), *(name for step in steps for name in step.inputs)}
    specs = exported.graph_signature.input_specs
    return Program(
        steps=steps,
        stored={name: value for name, value in stored.items() if name in used},
        origins={name: value for name, value in origins.items() if name in used},
        inputs=tuple(_leaf_name(spec) for spec in specs if _is_input(spec)),
        outputs=outputs,
        output_spec=exported.call_spec.out_spec,
        free_batch=_free_batch(nodes, {_leaf_name(s) for s in specs if _is_input(s)}),
    )


def _free_batch(nodes: list[fx.Node], inputs: set[str]) -> bool:
    """Say whether the number of inputs is still open, which code may have fixed."""
    shapes = [
        node.meta["val"].shape
        for node in nodes
        if node.op == "placeholder"
        and node.name in inputs
        and isinstance(node.meta.get("val"), Tensor)
    ]
    return all(free_symbols(shape[0]) for shape in shapes if shape)


def _is_input(spec: InputSpec) -> bool:
    return spec.kind is InputKind.USER_INPUT


def _leaf_name(spec: InputSpec) -> str:
    return str(spec.arg.name)


def _stored(
    network: nn.Module, exported: ExportedProgram, nodes: list[fx.Node]
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return the tensors that the graph finds in place, and their dotted names."""
    tensors: dict[str, Tensor] = {
        **dict(network.named_buffers(remove_duplicate=False)),
        **dict(network.named_parameters(remove_duplicate=False)),
    }
    aliases = _aliases(tensors)
    stored: dict[str, Any] = {}
    origins: dict[str, tuple[str, ...]] = {}
    for spec in exported.graph_signature.input_specs:
        if _is_input(spec) or spec.target is None:
            continue
        name, target = _leaf_name(spec), spec.target.removeprefix("network.")
        if target in tensors:
            # Not detached: products choose their kernel by who wants a gradient,
            # even where none is computed.
            stored[name] = tensors[target]
            origins[name] = aliases[target]
        elif spec.target not in exported.constants:
            raise CaptureError(f"{target} is stored in several tensors")
        else:
            stored[name] = exported.constants[spec.target]
    for node in nodes:
        if node.op == "get_attr":
            stored[node.name] = _attribute(exported.graph_module, str(node.target))
    return stored, origins


def _aliases(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Group dotted names by the storage they share, in order of registration."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(_place(tensor), []).append(name)
    return {name: tuple(group) for group in groups.values() for name in group}


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _attribute(owner: nn.Module, path: str) -> Any:
    found: Any = owner
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _outputs(exported: ExportedProgram, nodes: list[fx.Node]) -> tuple[Any, ...]:
    """Return the leaves that the user gets, without buffer updates."""
    specs = exported.graph_signature.output_specs
    (results,) = nodes[-1].args
    assert isinstance(results, list | tuple)
    return tuple(
        _plain(result)
        for spec, result in zip(specs, results, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    )


def _plain(arg: Any) -> Any:
    """Return an argument of the graph with references in place of nodes."""
    if isinstance(arg, fx.Node):
        return Ref(arg.name)
    if isinstance(arg, list | tuple):
        return type(arg)([_plain(item) for item in arg])
    if isinstance(arg, dict):
        return {key: _plain(item) for key, item in arg.items()}
    if isinstance(arg, slice):
        return slice(_plain(arg.start), _plain(arg.stop), _plain(arg.step))
    return arg


def _steps(network: nn.Module, nodes: list[fx.Node]) -> list[Step]:
    leaves = {path for path, module in network.named_modules() if not _branches(module)}
    calls = [node for node in nodes if node.op == "call_function"]
    merged = {node.name: node for node in calls if _only_first_is_used(node)}
    steps: list[Step] = []
    for node in calls:
        name = str(getattr(node.target, "__name__", node.target))
        if name.startswith(_CHECKS) or node.name in merged:
            continue
        source, op = node, _operator(node)
        if op is operator.getitem and str(node.args[0]) in merged:
            source = merged[str(node.args[0])]
            op = First(_operator(source))
        path = _path(source)
        steps.append(
            Step(
                name=node.name,
                op=op,
                args=_plain(_stated(source)),
                kwargs=_plain(dict(source.kwargs)),
                path=path,
                leaf=path.partition("@")[0] in leaves,
                order=len(steps),
            )
        )
    return steps


def _stated(node: fx.Node) -> tuple[Any, ...]:
    args = tuple(node.args)
    first = args[0].meta.get("val") if args and isinstance(args[0], fx.Node) else None
    return stated(node.target, args, first.dtype) if _floats(first) else args


def _floats(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_floating_point()


def _branches(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _only_first_is_used(node: fx.Node) -> bool:
    """Say whether all that is read of a node's results is the first of them."""
    users = list(node.users)
    return bool(users) and all(
        user.target is operator.getitem and user.args[1] == 0 for user in users
    )


def _operator(node: fx.Node) -> Any:
    views = (_ATEN.view.default, _ATEN._unsafe_view.default)
    return as_reshape if node.target in views else node.target


def _path(node: fx.Node) -> str:
    """Return the dotted path of the module that made a node.

    The second and later calls of a module are told apart: ``relu@1``.
    """
    stack = node.meta.get("nn_module_stack") or {}
    calls = [(k, path) for k, (path, _) in stack.items() if not path.startswith("_")]
    if not calls:
        return ""
    key, path = calls[-1]
    plain = path.partition("@")[0].removeprefix("network").removeprefix(".")
    number = key.partition("@")[2] or path.partition("@")[2]
    return f"{plain}@{number}" if number else plain


def _live(steps: list[Step], outputs: tuple[Any, ...]) -> tuple[Step, ...]:
    """Drop the steps whose values nobody reads."""
    wanted = set(refs(outputs))
    kept: list[Step] = []
    for step in reversed(steps):
        if step.name in wanted:
            kept.append(step)
            wanted.update(step.inputs)
    return tuple(
        Step(s.name, s.op, s.args, s.kwargs, s.path, s.leaf, order)
        for order, s in enumerate(reversed(kept))
    )
