"""Whether a guarded network says the same wherever it runs.

Run it as ``python -m benchmarks.verdicts_exported``. The monitor is one that was really
fitted to ``signs``, such as the ``--monitor`` that ``stoic monitor fit`` has saved.
Verdicts of ONNX Runtime, of the exported and of the compiled network on scenes, a
quarter of them as they are and the others noisy, blurred and pale, are compared with
those of the eager one in the same precision, field by field. Where one differs, the
table says how far the nearest end of a span, or limit of points, is from the feature at
most, as a share of it: that is what kernels round differently.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from benchmarks import printing
from benchmarks.fitted import fitted_monitor, monitor_options, subject
from torch import Tensor

from stoic.monitors.corruptions import CORRUPTIONS, pixels_of
from stoic.monitors.exported import export_onnx, rows_free
from stoic.monitors.guarded import Guarded, guard
from stoic.monitors.monitor import Monitor
from stoic.monitors.strengths import spoilt_of
from stoic.monitors.verdict import Verdict
from stoic.network.subject import Inputs

__all__ = ["main"]

Run: TypeAlias = Callable[[Tensor], Verdict]
_DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
_WAYS = ("onnx", "exported", "compiled")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a verdict differs."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    of = subject("signs", options.inputs // (len(CORRUPTIONS) + 1))
    monitor = fitted_monitor(of, options)
    inputs = _spoilt(of.inputs, monitor, options.seed)
    rows: list[dict[str, Any]] = []
    for precision in options.precisions:
        guarded = guard(of.network, monitor, Inputs((of.inputs[:4],), {}))
        guarded.to(_DTYPES[precision])
        rows += _rows(guarded, inputs.to(_DTYPES[precision]), precision, options.batch)
    record = {"benchmark": "verdicts_exported", "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return int(any(row["differ"] for row in rows))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.verdicts_exported", description=__doc__
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument(
        "--precisions", nargs="+", choices=_DTYPES, default=list(_DTYPES)
    )
    monitor_options(parser)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.inputs, options.precisions = 400, ["float32"]
    return options


def _spoilt(images: Tensor, monitor: Monitor, seed: int) -> Tensor:
    """Return images as they are, then with each corruption, strength by strength."""
    pixels, found = pixels_of(images), [images]
    for kind in CORRUPTIONS:
        known = [s for s in spoilt_of(monitor.about) if s.corruption is kind]
        parts = images.tensor_split(max(len(known), 1))
        for part, each in zip(parts, known, strict=False):
            given = Inputs((part,), {})
            spoilt = pixels.on(given, kind, each.strength, seed)
            found.append(spoilt.leaves[0])
    return torch.cat(found)


def _rows(
    guarded: Guarded, inputs: Tensor, precision: str, batch: int
) -> Iterator[dict[str, Any]]:
    """Yield one line per way to run a guarded network."""
    features: list[Tensor] = []
    *_, judge = guarded.network.graph.children()
    hook = judge.register_forward_pre_hook(
        lambda _, rows: features.append(torch.cat(rows, 1))
    )
    wanted = _verdicts(_eager(guarded), inputs, batch)
    hook.remove()
    away = _away(guarded.plan.monitor, torch.cat(features).numpy())
    for way in _WAYS:
        if way == "onnx" and precision != "float32":
            continue
        printing.say(f"{precision}, {way}")
        found = _verdicts(_MADE[way](guarded, inputs[:batch]), inputs, batch)
        pairs = zip(Verdict._fields, found, wanted, strict=True)
        other = {name: (a != b).numpy() for name, a, b in pairs}
        differ = np.any(list(other.values()), 0)
        yield {
            "precision": precision,
            "way": way,
            "inputs": len(inputs),
            "rules": len(wanted.rule.unique()),
            **{name: int(rows.sum()) for name, rows in other.items()},
            "differ": int(differ.sum()),
            "away": float(away[differ].max()) if differ.any() else None,
        }


@torch.inference_mode()
def _verdicts(run: Run, inputs: Tensor, batch: int) -> Verdict:
    parts = [run(rows) for rows in inputs.split(batch)]
    return Verdict(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _eager(guarded: Any) -> Run:
    return lambda rows: Verdict(*guarded(rows)[1])


def _exported(guarded: Guarded, example: Tensor) -> Run:
    shapes = rows_free(Inputs((example,), {}))
    exported = torch.export.export(guarded, (example,), dynamic_shapes=shapes)
    return _eager(exported.module())


def _compiled(guarded: Guarded, example: Tensor) -> Run:
    return _eager(torch.compile(guarded, fullgraph=True))


def _onnx(guarded: Guarded, example: Tensor) -> Run:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "guarded.onnx"
        export_onnx(guarded, Inputs((example,), {}), path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options)
    (given,) = session.get_inputs()
    names = list(Verdict._fields)

    def run(rows: Tensor) -> Verdict:
        found = session.run(names, {given.name: rows.numpy()})
        return Verdict(*map(torch.from_numpy, found))

    return run


_MADE: dict[str, Callable[[Guarded, Tensor], Run]] = {
    "onnx": _onnx,
    "exported": _exported,
    "compiled": _compiled,
}


def _away(monitor: Monitor, features: Any) -> Any:
    """Return how far features are from the nearest end of a span, as a share of it.

    Limits of points are such ends, too.
    """
    rules, alarm, points = monitor.rules, monitor.alarm, monitor.points
    if points.distance:
        own = points.distance.told(features[:, points.apart])
        features = np.concatenate([features, own], 1)
    ends = [(f.feature, end) for f in rules.forks for end in (f.low, f.high)]
    for number, pair in enumerate(zip(alarm.low, alarm.high, strict=True)):
        ends += [(number, float(end)) for end in pair]
    conditions = {c for step in points.steps for c in step.conditions}
    ends += [(condition.feature, condition.limit) for condition in conditions]
    shares = [
        np.abs(features[:, number] - end) / max(abs(end), 1e-30)
        for number, end in ends
        if np.isfinite(end)
    ]
    return np.min(shares, 0)


def _text(rows: Sequence[dict[str, Any]]) -> str:
    fields = Verdict._fields
    heads = ("precision", "way", "inputs", "rules met", *fields, "from an end")
    cells = [
        [
            *(row["precision"], row["way"], row["inputs"], row["rules"]),
            *(row[name] for name in fields),
            "-" if row["away"] is None else f"{row['away']:.1e}",
        ]
        for row in rows
    ]
    return printing.table(heads, cells)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    raise SystemExit(main())
