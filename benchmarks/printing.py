"""What every benchmark prints: where it ran, a table, or JSON for machines."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["common_options", "device_option", "machine", "say", "show", "table"]

_VERSIONS = ("stoic", "torch", "torchvision", "pytorchfi", "MRFI", "numpy")


def common_options(parser: ArgumentParser, *, threads: int = 2) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument("--threads", type=int, default=threads, help="of PyTorch")
    parser.add_argument("--seed", type=int, default=0, help="of weights and faults")
    parser.add_argument("--quick", action="store_true", help="tiny: only tries it out")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")


def device_option(parser: ArgumentParser) -> None:
    """Add the option of benchmarks whose networks can run on an accelerator."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def machine() -> dict[str, Any]:
    """Return what a reader must know about the machine to judge a time."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "threads": torch.get_num_threads(),
        **(
            {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_initialized() else {}
        ),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _VERSIONS},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under heads, the first column flush left, the others flush right."""
    cells = [list(heads), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _text(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _line(row: list[str], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    left = first[0].ljust(first[1])
    return "  ".join([left, *(text.rjust(width) for text, width in others)]).rstrip()


def say(text: str) -> None:
    """Tell a person how far things are."""
    print(text, file=sys.stderr, flush=True)


def show(record: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result with the machine it was made on."""
    where = machine()
    if as_json:
        print(json.dumps({**record, "machine": where}, indent=2))
        return
    versions = ", ".join(f"{n} {v}" for n, v in where["versions"].items())
    print(text)
    print(
        f"\n{where['processor']}, {where['cores']} cores, {where['threads']} threads, "
        f"load {where['load'][0]}; Python {where['python']}, {versions}"
    )
