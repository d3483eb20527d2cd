"""A guarded network as an ONNX file, its verdict included."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim
from torch.utils import _pytree as pytree

from stoic.monitors.guarded import Guarded
from stoic.monitors.verdict import Verdict
from stoic.network.naming import input_name
from stoic.network.subject import Inputs

__all__ = ["export_onnx", "rows_free"]

_NEEDED = ("onnx", "onnxscript")


def export_onnx(guarded: Guarded, inputs: Inputs, path: Path) -> None:
    """Write a guarded network as an ONNX file that takes any number of rows.

    Inputs are called ``input.0`` or ``input.name``, as sites are; outputs ``output``,
    or ``output.0`` and so on where there are several, then ``label``, ``score``,
    ``rule`` and ``unlike``. Weights that do not fit are written beside the file.

    ONNX Runtime computes with other kernels: the verdict is the same unless a feature
    lies within their rounding of a threshold, or the network itself treats NaN in
    another way, as some kernels of its do.

    Args:
        guarded: Written as it was captured, whatever it was converted to since.
        inputs: Examples, of at least two rows.
        path: Of the file.

    Raises:
        ModuleNotFoundError: A package of the extra ``export`` is missing.
        ValueError: There are fewer than two rows: that number would be fixed. Or it
            has checksums.
    """
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"export to ONNX needs the package {name}, which is not installed; "
                "get it: pip install 'stoic[export]'"
            )
    if guarded.plan.checksums.checks:
        raise ValueError(
            "a monitor to export must do without double precision, which ONNX Runtime "
            "has no convolutions in, got one with checksums; fit another"
        )
    if inputs.count < 2:
        raise ValueError(
            f"example inputs must have at least 2 rows, got {inputs.count}; "
            "repeat the row"
        )
    portable = Guarded(guarded.plan, portable=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            portable,
            inputs.args,
            path,
            kwargs=dict(inputs.kwargs),
            input_names=[input_name(name) for name in inputs.names],
            output_names=_output_names(guarded),
            dynamic_shapes=rows_free(inputs),
            dynamo=True,
            verbose=False,
        )


def rows_free(inputs: Inputs) -> dict[str, Any]:
    """Return for ``torch.export`` that the number of rows is free.

    Args:
        inputs: Examples; what is returned are its ``dynamic_shapes``.
    """

    def shape(leaf: Any) -> Any:
        return {0: Dim.DYNAMIC} if isinstance(leaf, Tensor) and leaf.dim() else None

    args, kwargs = pytree.tree_map(shape, (inputs.args, dict(inputs.kwargs)))
    shapes = {"args": args, "kwargs": kwargs}
    return {name: shape for name, shape in shapes.items() if shape}


def _output_names(guarded: Guarded) -> list[str]:
    """Return the names of what is computed: outputs, then the verdict."""
    program = guarded.plan.subject.program
    count = len(program.output_names)
    outputs = [f"output.{number}" for number in range(count)]
    return [*(outputs if count > 1 else ["output"]), *Verdict._fields]
