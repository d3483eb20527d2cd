"""Cases of the user's own: ``module:function``."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from stoic.cases.case import Case, Inputs
from stoic.cases.errors import CaseError
from stoic.records.raised import reason

__all__ = ["load_user"]

_TYPES = {
    "network": nn.Module,
    "labels": Tensor,
    "clusters": Tensor,
    "about": str,
    "recorded": Mapping,
}
_KEYS = (
    *("network", "inputs", "labels", "classes"),
    *("clusters", "tail", "criterion", "about"),
    *("names", "recorded", "scenarios"),
)


def load_user(reference: str) -> Case:
    """Call a function of the user's and return the case it makes.

    The current directory is searched first for the module, as ``python -m`` does.

    Args:
        reference: Module and function, as ``"module:function"``, or the file of the
            module, as ``"folder/module.py:function"``. The function takes no
            arguments and returns a ``Case``, ``(network, inputs)``, ``(network, inputs,
            labels)``, or a dict with the names of a case's fields.

    Raises:
        CaseError: There is no such module or function, it failed, or it returned
            something else.
    """
    module, colon, function = reference.partition(":")
    if not (module and colon and function):
        raise CaseError(f"case must be 'module:function', got {reference!r}")
    home = _module(module)
    make = _function(home, function)
    try:
        made = make()
    except Exception as error:
        raise CaseError(
            f"{reference} must return a case, got {reason(error)}{_where(error, home)}"
        ) from error
    return made if isinstance(made, Case) else _case(reference, _parts(reference, made))


def _module(name: str) -> ModuleType:
    here, file = os.getcwd(), Path(name)
    if file.suffix == ".py":
        here, name = str(file.parent.resolve()), file.stem
    # Never taken off again: the network may import more when it is first called.
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(name)
    except Exception as error:
        raise CaseError(
            f"module {name} must import, got {reason(error)}; searched {here} first"
        ) from error
    if file.suffix == ".py" and Path(found.__file__ or "").resolve() != file.resolve():
        raise CaseError(
            f"{file} must have a name of its own, got that of the module {name} in "
            f"{found.__file__ or 'Python itself'}; rename it"
        )
    return found


def _function(module: ModuleType, name: str) -> Callable[[], object]:
    found: dict[str, object] = vars(module)
    if callable(function := found.get(name)):
        return function
    near = get_close_matches(name, [each for each in found if callable(found[each])])
    raise CaseError(
        f"case must name a function of the module {module.__name__}, got {name!r}; "
        + (f"did you mean {' or '.join(near)}?" if near else "it has none like that")
    )


def _where(error: Exception, home: ModuleType) -> str:
    """Name the line of the user's module that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == home.__file__]
    return f"; raised in line {lines[-1]} of {home.__file__}" if lines else ""


def _parts(reference: str, made: object) -> dict[str, Any]:
    """Give names to the parts of what the function returned."""
    if isinstance(made, tuple) and len(made) in (2, 3):
        return dict(zip(_KEYS, made, strict=False))
    if isinstance(made, Mapping) and {"network", "inputs"} <= made.keys() <= set(_KEYS):
        return dict(made)
    got = type(made).__name__
    if isinstance(made, tuple):
        got = f"a tuple of {len(made)}"
    elif isinstance(made, Mapping):
        got = f"a dict with the keys {', '.join(map(str, made))}"
    raise CaseError(
        f"{reference} must return a Case, (network, inputs), (network, inputs, labels) "
        f"or a dict with the keys network and inputs, and if wanted "
        f"{', '.join(_KEYS[2:])}; got {got}"
    )


def _case(reference: str, parts: dict[str, Any]) -> Case:
    for name, expected in _TYPES.items():
        part = parts.get(name)
        if part is not None and not isinstance(part, expected):
            raise CaseError(
                f"{name} of {reference} must be a {expected.__name__}, "
                f"got a {type(part).__name__}"
            )
    return Case(
        name=reference, **{**parts, "inputs": _inputs(reference, parts["inputs"])}
    )


def _inputs(reference: str, inputs: Any) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs
    if isinstance(inputs, Mapping) and _are_tensors(inputs.values()):
        return dict(inputs)
    if isinstance(inputs, tuple | list) and _are_tensors(inputs):
        return tuple(inputs)
    raise CaseError(
        f"inputs of {reference} must be a tensor, or a tuple or dict of tensors, "
        f"got a {type(inputs).__name__}"
    )


def _are_tensors(values: Iterable[object]) -> bool:
    return all(isinstance(each, Tensor) for each in values)
