"""The laws of the house, read off the source: layers, torch, surface, size, names."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "stoic"

VALUES, ENGINE, VIEWS, SURFACE, FRONT = range(1, 6)
LAYERS = {
    **dict.fromkeys(("records", "estimates", "plans"), VALUES),
    **dict.fromkeys(
        (
            *("network", "faults", "criteria", "detections"),
            *("campaign", "population", "words"),
        ),
        ENGINE,
    ),
    **dict.fromkeys(("hardware", "sensitivity", "monitors", "causes", "harden"), VIEWS),
    **dict.fromkeys(
        (
            *("report", "cases", "settings", "study"),
            *("columns", "conditioning", "explaining", "extracting", "improving"),
            *("marking", "monitoring", "predicting", "trying", "widths", "cli"),
        ),
        SURFACE,
    ),
    # The front door re-exports what lies below; nothing below goes through it.
    **dict.fromkeys(("__init__", "__main__"), FRONT),
}
TORCH_FREE = {"records", "estimates", "plans", "report"}
NO_NAME = {"utils", "util", "helpers", "misc"}
MODULE_LINES = 400
FUNCTION_LINES = 60

# A law finds the violations in a package.
Law = Callable[[Path], list[str]]

# What a machine's own folders begin with; "../home/x" and "https://…/home/" are none.
MACHINE_PATH = re.compile(
    r"(?<![\w.])(?:/(?:home|Users|root|work|opt|mnt|srv|tmp)/\w|[A-Z]:\\\\?\w)"
)
TEXT = {".py", ".md", ".toml", ".html", ".css", ".js", ".j2", ".json", ".sh", ".yml"}
SKIPPED = {".git", ".venv", "runs", "build", "dist", "__pycache__"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    module: "Module"
    line: int
    target: str

    @property
    def room(self) -> str | None:
        """The room of the package that is imported; None for a foreign package."""
        top, _, rest = self.target.partition(".")
        if top != self.module.package.name:
            return None
        return rest.partition(".")[0] or "__init__"

    def __str__(self) -> str:
        return f"{self.module.name}:{self.line} imports {self.target}"


@dataclass(frozen=True)
class Module:
    """One source file of a package."""

    package: Path
    path: Path

    @property
    def name(self) -> str:
        """Dotted, with the package: ``stoic.faults.space``."""
        inside = self.path.relative_to(self.package.parent).with_suffix("")
        parts = inside.parts[:-1] if inside.name == "__init__" else inside.parts
        return ".".join(parts)

    @property
    def room(self) -> str:
        """The first name below the package: a folder, or a module without suffix."""
        return self.path.relative_to(self.package).parts[0].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    def imports(self) -> Iterator[Import]:
        """Every import at any depth, also inside functions and ``TYPE_CHECKING``."""
        for node in ast.walk(self.tree):
            for target in self._targets(node):
                yield Import(self, node.lineno, target)  # type: ignore[attr-defined]

    def _targets(self, node: ast.AST) -> list[str]:
        match node:
            case ast.Import(names=names):
                return [alias.name for alias in names]
            case ast.ImportFrom(module=source, names=names, level=level):
                origin = self._origin(source, level)
                return [self._submodule(origin, alias.name) for alias in names]
            case ast.Call(args=[ast.Constant(value=str(target)), *_]) if ast.unparse(
                node.func
            ).split(".")[-1] in {"import_module", "__import__"}:
                return [target]
        return []

    def _origin(self, source: str | None, level: int) -> str:
        """The absolute name of what stands between ``from`` and ``import``."""
        if level == 0:
            return source or ""
        up = level - 1 if self.path.name == "__init__.py" else level
        parts = self.name.split(".")
        return ".".join([*parts[: len(parts) - up], *([source] if source else [])])

    def _submodule(self, origin: str, name: str) -> str:
        """``from stoic import x`` means ``stoic.x`` only where that is a module."""
        below = self.package.parent.joinpath(*origin.split("."), name)
        a_module = below.is_dir() or below.with_suffix(".py").is_file()
        # The version is the one fact of the front door that everyone may ask for.
        if origin == self.package.name and name == "__version__":
            return "__future__"
        return f"{origin}.{name}" if a_module else origin


def modules(package: Path) -> list[Module]:
    return [Module(package, path) for path in sorted(package.rglob("*.py"))]


def all_imports(package: Path) -> list[Import]:
    return [found for module in modules(package) for found in module.imports()]


def homeless(package: Path) -> list[str]:
    return [m.name for m in modules(package) if m.room not in LAYERS]


def upward(package: Path) -> list[str]:
    return [
        str(found)
        for found in all_imports(package)
        if found.room is not None
        and LAYERS.get(found.room, FRONT) > LAYERS.get(found.module.room, FRONT)
    ]


def sideways_between_views(package: Path) -> list[str]:
    return [
        str(found)
        for found in all_imports(package)
        if found.room is not None
        and LAYERS.get(found.room) == LAYERS.get(found.module.room) == VIEWS
        and found.room != found.module.room
    ]


def torch_where_none_may_be(package: Path) -> list[str]:
    """Torch itself, or a room that may import it: either way torch gets loaded."""
    return [
        str(found)
        for found in all_imports(package)
        if found.module.room in TORCH_FREE
        and (
            found.target.split(".")[0] in {"torch", "torchvision"}
            if found.room is None
            else found.room not in TORCH_FREE
        )
    ]


def without_all(package: Path) -> list[str]:
    return [
        module.name
        for module in modules(package)
        if module.path.name not in {"__init__.py", "__main__.py"}
        and "__all__" not in _assigned(module.tree)
    ]


def untrue_all(package: Path) -> list[str]:
    """Names in ``__all__`` that their module does not define."""
    return [
        f"{module.name}.{name}"
        for module in modules(package)
        # A lazy export defines its names by `__getattr__`, only when asked.
        if "__getattr__" not in _assigned(module.tree)
        for name in _assigned(module.tree).get("__all__", [])
        if name not in _assigned(module.tree) and not _is_module_below(module, name)
    ]


def _is_module_below(module: Module, name: str) -> bool:
    below = module.path.parent / name
    return module.path.name == "__init__.py" and (
        below.is_dir() or below.with_suffix(".py").is_file()
    )


def _assigned(tree: ast.Module) -> dict[str, list[str]]:
    """Each name bound at the top, with the strings in its value."""
    names: dict[str, list[str]] = {}
    for node in _top_level(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for leaf in ast.walk(target):
                        if isinstance(leaf, ast.Name):
                            names[leaf.id] = _strings(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                names[name] = _strings(value) if value else []
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names[node.name] = []
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    names[(alias.asname or alias.name).split(".")[0]] = []
    return names


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of the module, also those inside a top-level ``if`` or ``try``."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [
                n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)
            ]


def _strings(value: ast.expr) -> list[str]:
    return [
        leaf.value
        for leaf in ast.walk(value)
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
    ]


def too_long(package: Path) -> list[str]:
    found = []
    for module in modules(package):
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > MODULE_LINES:
            found.append(f"{module.name} has {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{module.name}.{node.name} has {lines} lines")
    return found


def nameless(package: Path) -> list[str]:
    return [m.name for m in modules(package) if NO_NAME & set(m.name.split("."))]


def machine_paths(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number} names {match[0]}…"
        for path in _texts(root)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if (match := MACHINE_PATH.search(line))
    ]


def _texts(root: Path) -> list[Path]:
    plain = [root / "Makefile", root / ".ci" / "run"]
    return [path for path in plain if path.is_file()] + [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix in TEXT
        and not SKIPPED & set(path.relative_to(root).parts)
        and path.is_file()
    ]


LAWS = [
    pytest.param(homeless, id="every module belongs to a layer"),
    pytest.param(upward, id="imports go downwards only"),
    pytest.param(sideways_between_views, id="views do not know each other"),
    pytest.param(torch_where_none_may_be, id="reading and reporting need no torch"),
    pytest.param(without_all, id="every module says what it offers"),
    pytest.param(untrue_all, id="no module offers what it lacks"),
    pytest.param(too_long, id="modules and functions stay short"),
    pytest.param(nameless, id="no module is a drawer for anything"),
]


@pytest.mark.parametrize("law", LAWS)
def test_the_house_keeps_the_law(law: Law) -> None:
    assert modules(PACKAGE), f"nothing to walk in {PACKAGE}"
    assert law(PACKAGE) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert machine_paths(ROOT) == []


GOOD = '__all__ = ["answer"]\n\n\ndef answer() -> int:\n    return 42\n'


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A synthetic package that keeps every law."""
    package = tmp_path / "src" / "stoic"
    for room in ("network", "monitors", "causes", "estimates", "report"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
        (package / room / "part.py").write_text(GOOD)
    for module in ("records", "criteria", "cli"):
        (package / f"{module}.py").write_text(GOOD)
    (package / "__init__.py").write_text('__version__ = "1"\n')
    return package


@pytest.mark.parametrize("law", LAWS)
def test_a_good_house_breaks_no_law(law: Law, house: Path) -> None:
    assert law(house) == []


@pytest.mark.parametrize(
    ("law", "where", "line"),
    [
        (upward, "records.py", "from stoic.network import part"),
        (upward, "records.py", "import stoic.cli"),
        (upward, "network/part.py", "from ..monitors.part import answer"),
        (upward, "network/__init__.py", "from ..report import part"),
        (upward, "network/part.py", "def f():\n    from stoic import cli"),
        (upward, "network/part.py", "from stoic import answer"),
        (
            upward,
            "criteria.py",
            "import importlib\nimportlib.import_module('stoic.cli')",
        ),
        (sideways_between_views, "monitors/part.py", "from ..causes import part"),
        (sideways_between_views, "causes/part.py", "import stoic.monitors.part"),
        (torch_where_none_may_be, "records.py", "import torch"),
        (torch_where_none_may_be, "estimates/part.py", "from torch.nn import Module"),
        (torch_where_none_may_be, "report/part.py", "def f():\n    import torch as t"),
        (torch_where_none_may_be, "report/part.py", "from .. import criteria"),
        (torch_where_none_may_be, "records.py", "__import__('torch')"),
        (too_long, "records.py", "\n" * MODULE_LINES),
        (too_long, "records.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
        (untrue_all, "records.py", "__all__ = ['gone']"),
    ],
)
def test_the_walker_sees_a_line_that_breaks_a_law(
    law: Law, where: str, line: str, house: Path
) -> None:
    (house / where).write_text(GOOD + line + "\n")

    violations = law(house)

    assert len(violations) == 1
    assert where.partition(".")[0].partition("/")[0] in violations[0]


@pytest.mark.parametrize(
    ("law", "where", "text"),
    [
        (homeless, "drawer.py", GOOD),
        (nameless, "network/utils.py", GOOD),
        (without_all, "network/bare.py", "answer = 42\n"),
    ],
)
def test_the_walker_sees_a_file_that_breaks_a_law(
    law: Law, where: str, text: str, house: Path
) -> None:
    (house / where).write_text(text)

    assert len(law(house)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "from stoic import __version__",
        "from . import records",
        "from .estimates.part import answer",
        "import torch",
        "from .criteria import answer as other",
    ],
)
def test_the_walker_lets_a_downward_import_pass(line: str, house: Path) -> None:
    (house / "cli.py").write_text(GOOD + line + "\n")

    assert [v for law in (upward, torch_where_none_may_be) for v in law(house)] == []


@pytest.mark.parametrize("folder", ["home", "root", "Users"])
def test_the_walker_sees_a_folder_of_one_machine(folder: str, house: Path) -> None:
    (house / "records.py").write_text(f'{GOOD}PLACE = "/{folder}/me/data"\n')

    assert len(machine_paths(house.parent.parent)) == 1


@pytest.mark.parametrize("text", ["../home/x", "https://a.org/home/x", "a/tmp/b"])
def test_a_relative_path_or_an_address_is_no_folder(text: str, house: Path) -> None:
    (house / "records.py").write_text(f'{GOOD}PLACE = "{text}"\n')

    assert machine_paths(house.parent.parent) == []
