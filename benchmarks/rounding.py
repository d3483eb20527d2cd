"""Growth of rounding: runs in narrow formats against float64, beside predictions.

Run it as ``python -m benchmarks.rounding``. Each network is run in float32, bfloat16
and float16 on inputs that the format holds, and in float64 with its float32 weights on
the same inputs. *Average* is the mean of independent roundings, a guess; *guarantee* is
the certified bound of everything that the format may round. A measurement beyond it
ends the run with 1, and so does a built-in network without a finite one. Rows are
printed as they are known.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from benchmarks import printing
from torch import Tensor, nn

from stoic.cases import CaseError, load
from stoic.network.captured import CapturedSubject
from stoic.network.program import Program
from stoic.sensitivity.condition import condition
from stoic.sensitivity.norms import Store
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import NotKnownError, wide
from stoic.sensitivity.rounding import average_rounding
from stoic.study import as_inputs, ready

__all__ = ["main"]

_CASES = ("digits", "signs", "fashion", "fashion-vgg", "fashion-alexnet")
_FETCHED = ("imagenet", "imagenet-squeezenet")
_FORMATS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Values of a photo, with all bounds of them, take gigabytes.
_LARGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    lost: list[str] = []
    for name in options.networks:
        try:
            for row in _of_network(name, options.inputs, options.formats):
                rows.append(row)
                _tell(rows, options)
        except (CaseError, NotKnownError) as error:
            printing.say(f"{name} is left out: {error}")
            lost += [name] if isinstance(error, NotKnownError) else []
    lost += [row["network"] for row in rows if row["silent"]]
    lost = sorted({*lost} & {*_CASES})
    violated = sum(row["violated"] for row in rows)
    told = f"\n{violated} guarantees were violated; lost: {', '.join(lost) or 'none'}"
    record = {"benchmark": "rounding", "rows": rows, "lost": lost}
    printing.show(record, told, as_json=options.json)
    return int(bool(violated or lost))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.rounding", description=__doc__
    )
    names = (*_CASES, *_FETCHED)
    parser.add_argument("--networks", nargs="+", choices=names, default=[*_CASES])
    parser.add_argument("--inputs", type=int, default=32, help="images per network")
    parser.add_argument(
        "--formats", nargs="+", choices=tuple(_FORMATS), default=tuple(_FORMATS)
    )
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.inputs = ["digits"], 8
    return options


def _of_network(
    name: str, inputs: int, formats: Sequence[str]
) -> Iterator[dict[str, Any]]:
    case = load(name, min(inputs, 4 if name in _FETCHED else inputs))
    given = as_inputs(case.inputs)
    subject = ready(case.network, given)
    assert isinstance(subject, CapturedSubject), subject.reason
    (images,) = given.leaves
    store: Store = {}
    for format in formats:
        dtype, begun = _FORMATS[format], time.process_time()
        parts = images.split(_LARGE if name in _FETCHED else 16)
        found = [
            _of_batch(case.network, subject.program, part.to(dtype), store)
            for part in parts
        ]
        measured, average, certified = (
            torch.cat(each) for each in zip(*found, strict=True)
        )
        seconds = time.process_time() - begun
        yield _row(name, format, measured, average, certified, seconds)


@torch.inference_mode()
def _of_batch(
    network: nn.Module, program: Program, x: Tensor, store: Store
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how far scores moved, on average, and at most, relative to the scores."""
    (scores,) = program.output_names
    exact = wide(program).run([x.double()])[scores]
    narrow = copy.deepcopy(network).to(x.dtype)(x)
    size = exact.norm(dim=1)
    measured = (narrow.double() - exact).norm(dim=1)
    average = average_rounding(program, [x.float()], scores, x.dtype)
    what = Perturbation.of_format(x.dtype)
    bound = condition(program, [x.float()], scores, what, store).certified
    return measured / size, average / size, bound / size


def _row(
    name: str,
    format: str,
    measured: Tensor,
    average: Tensor,
    certified: Tensor,
    seconds: float,
) -> dict[str, Any]:
    apart = (measured / average).log10()
    return {
        "network": name,
        "inputs": len(measured),
        "format": format,
        "measured": measured.median().item(),
        "average": average.median().item(),
        "certified": certified.median().item(),
        "beside average": apart.quantile(apart.new_tensor([0.05, 0.5, 0.95])).tolist(),
        "below guarantee": (certified / measured).log10().median().item(),
        "violated": int((~(measured <= certified)).sum()),
        "silent": int((~certified.isfinite()).sum()),
        "seconds": seconds,
    }


def _tell(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the last row, under heads if it is the first."""
    if options.json:
        return
    if len(rows) == 1:
        print(_line(_HEADS))
    row = rows[-1]
    apart = " ".join(f"{each:+.2f}" for each in row["beside average"])
    cells = [
        f"{row['network']} ({row['inputs']})",
        row["format"],
        *(f"{row[key]:.2g}" for key in ("average", "measured", "certified")),
        *(apart, f"{row['below guarantee']:+.2f}"),
        *(str(row["violated"]), f"{row['seconds']:.0f}"),
    ]
    print(_line(cells), flush=True)


_HEADS = (
    *("network", "format", "average", "measured", "guarantee"),
    *("measured / average", "guarantee / measured", "violated", "seconds"),
)


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    widths = [max(len(head), 8) for head in _HEADS[1:]]
    return f"{first:<24}" + "".join(
        f"  {cell:>{width}}" for cell, width in zip(others, widths, strict=True)
    )


if __name__ == "__main__":
    raise SystemExit(main())
