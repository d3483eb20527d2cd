"""Which code decides a result: modules, all that they import, and versions of others.

A result that is kept is named by a digest of these, so that it is out of date as soon
as a line of them changes, and nobody has to remember to say so.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["modules_of", "traced", "versions"]

_OWN = "stoic"
_COMPUTING = (
    *("numpy", "scipy", "scikit-learn", "torch", "torchvision", "pillow"),
    *("umap-learn", "pynndescent", "numba", "onnx"),
)


@cache
def traced(modules: frozenset[str], beside: tuple[str, ...] = ()) -> str:
    """Return a digest of the sources of modules and of all that these import.

    Imports are followed within this package and within the package that a module is
    of, also those inside functions; foreign ones have versions. What is read first
    counts until the process ends, as what is imported first does.

    Args:
        modules: Dotted names. Those without a source file are left out.
        beside: Globs of data in the folders of these modules that counts, too.
    """
    found: dict[str, Path] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        file = None if name in found else _file(name)
        if file is not None:
            found[name] = file
            todo += _followed(name, file)
    folders = {file.parent for file in found.values()}
    data = {each for folder in folders for glob in beside for each in folder.glob(glob)}
    lines = [f"{name} {_digest(file)}" for name, file in sorted(found.items())]
    lines += [f"{file.name} {_digest(file)}" for file in sorted(data)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def modules_of(stage: object) -> frozenset[str]:
    """Return where a value and all values in its fields were defined."""
    if isinstance(stage, partial):
        return _modules((stage.func, *stage.args))
    if isinstance(stage, tuple):
        return _modules(stage)
    if inspect.isroutine(stage):
        return frozenset({str(stage.__module__)})
    kinds = frozenset(kind.__module__ for kind in type(stage).__mro__)
    parts = fields(stage) if is_dataclass(stage) and not isinstance(stage, type) else ()
    return kinds | _modules(getattr(stage, each.name) for each in parts)


def _modules(values: Iterable[object]) -> frozenset[str]:
    return frozenset(name for value in values for name in modules_of(value))


@cache
def versions() -> str:
    """Return the versions of the packages that compute."""
    return ", ".join(f"{package} {_version(package)}" for package in _COMPUTING)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@cache
def _followed(name: str, file: Path) -> tuple[str, ...]:
    tops = {_OWN, name.partition(".")[0]}
    home = name if file.name == "__init__.py" else name.rpartition(".")[0]
    targets = _imports(ast.parse(file.read_bytes()), home)
    return tuple(each for each in targets if each.partition(".")[0] in tops)


def _imports(tree: ast.AST, home: str) -> Iterator[str]:
    """Yield the modules that a tree imports, and names that may be modules."""
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = home.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
            modules = [name for name in names if _file(name)]
            yield from modules
            if len(modules) < len(names):
                yield origin


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements, at any depth: an expression imports nothing."""
    todo = [tree]
    while todo:
        node = todo.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            # The body of a lambda, or of a condition in a line, is no list.
            todo += inner if isinstance(inner, list) else []
        yield node


@cache
def _file(name: str) -> Path | None:
    """Return where the source of a module lies, without importing it."""
    top, *below = name.split(".")
    module = sys.modules.get(top)
    if module is None or getattr(module, "__file__", None) is None:
        return None
    file = Path(str(module.__file__))
    if not below:
        return file if file.suffix == ".py" else None
    if file.name != "__init__.py":
        return None
    path = file.parent.joinpath(*below)
    for found in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
