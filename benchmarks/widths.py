"""Least uniform widths: as predicted from slopes, and as measured by rounding.

Run it as ``python -m benchmarks.widths``. For each network and each part that is made
narrower (weights, the values that layers read, both) it tells the width from which on a
share of the decisions stays: predicted from at most 32 inputs, and measured on all of
them. *Forwards* is what the prediction costs, in runs of the network at batch 32, by
the time of the processor. *Provable* is the width that the certified bound proves to
keep all of the first 32 decisions, beside the width that was measured on these very
inputs: a proof that says more than was measured would be wrong, and ends with 1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from benchmarks import printing

from stoic.campaign.scores import scores_of
from stoic.cases import Case, load
from stoic.sensitivity.golden import Scored, score_inputs
from stoic.sensitivity.keeping import kept_chance, kept_share, least_width, likely_width
from stoic.sensitivity.noise import Noise, measure_noise
from stoic.sensitivity.provable import own_widths, proved_shares
from stoic.sensitivity.proving import proof_of
from stoic.sensitivity.quantised import Family, named_family
from stoic.sensitivity.reach import NotKnownError
from stoic.sensitivity.sweep import kept_by, narrow_scores, sweep, uniform
from stoic.study import as_inputs, ready
from stoic.widths import PARTS

__all__ = ["main"]

# Inputs of each case; there are only 20 photos.
_INPUTS = {
    "digits": 400,
    "signs": 400,
    "fashion": 1000,
    "fashion-vgg": 1000,
    "fashion-alexnet": 1000,
    "imagenet": 20,
    "imagenet-squeezenet": 20,
}
_KEEPS = (0.9, 0.99, 1.0)
_BATCH, _PROBES = 32, 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = [
        row
        for name in options.networks
        for row in _of_network(name, options.format, options.most)
    ]
    record = {"benchmark": "widths", "format": options.format, "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return int(any(row["proof"]["wrong"] for row in rows))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.widths", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=_INPUTS, default=[*_INPUTS])
    parser.add_argument("--format", default="int", help="int, e4 or another family")
    parser.add_argument("--most", type=int, default=1000, help="inputs of a network")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.most = ["digits"], 100
    return options


def _of_network(name: str, format: str, most: int) -> Iterator[dict[str, Any]]:
    printing.say(name)
    case = load(name, min(_INPUTS[name], most))
    scored = _scored(case)
    family, widths = named_family(format)
    begun = time.process_time()
    noise = measure_noise(scored, family, widths, _PROBES, 0)
    cost = (time.process_time() - begun) / _forward(scored)
    for parts in PARTS:
        found = dict(sweep(scored, family, widths, parts, None))
        yield {
            "network": name,
            "inputs": scored.inputs.count,
            "narrow": parts,
            "widths": _compared(noise, parts, found),
            "forwards": cost,
            "predicted": kept_share(noise, noise.of(parts).sum(0)).tolist(),
            "measured": {w: kept.share.value for w, kept in found.items()},
            "proof": _proved(scored.first(_PROBES), format, parts),
        }


def _proved(scored: Scored, format: str, parts: str) -> dict[str, Any]:
    """Return the provable width, the one measured on the same inputs, what is wrong."""
    family, widths = named_family(format)
    begun, silent, proved = time.process_time(), "", {}
    try:
        tried = own_widths(scored, format, widths)
        proof = proof_of(scored)
        proved = proved_shares(scored, family, tried, proof, 1.0, parts)
    except NotKnownError as error:
        silent = str(error)
    seconds = time.process_time() - begun
    kept = {w: _kept(scored, family, w, parts) for w in proved}
    every = {w: _kept(scored, family, w, parts) for w in widths}
    provable = next((w for w, share in proved.items() if share == 1), None)
    measured = least_width([*every], [*every.values()], 1.0)
    wrong = [w for w, share in proved.items() if share > kept[w]]
    if provable is not None and measured is not None and provable < measured:
        wrong.append(provable)
    return {
        "provable": provable,
        "measured": measured,
        "shares": proved,
        "wrong": wrong,
        "silent": silent,
        "seconds": seconds,
    }


def _kept(scored: Scored, family: Family, width: int, parts: str) -> float:
    scores = narrow_scores(scored, uniform(scored, family(width)), parts)
    return kept_by(scored, scores, None).share.value


def _scored(case: Case) -> Scored:
    given = as_inputs(case.inputs)
    subject = ready(case.network, given)
    return score_inputs(subject, given, case.tail or scores_of, _BATCH)


def _compared(noise: Noise, parts: str, found: dict[int, Any]) -> dict[str, Any]:
    """Return predicted and measured width by the share to keep."""
    shares = [kept.share.value for kept in found.values()]
    variance = noise.of(parts).sum(0)
    told = {}
    for keep in _KEEPS:
        chances = kept_chance(noise, variance, keep).tolist()
        predicted = likely_width(noise.widths, chances)
        told[f"{keep:.0%}"] = (predicted, least_width([*found], shares, keep))
    return told


@torch.inference_mode()
def _forward(scored: Scored) -> float:
    """Return seconds of a run at batch 32: the median of some."""
    given = scored.inputs
    times = -(-_BATCH // given.count)
    leaves = [_repeated(leaf, times) for leaf in given.leaves]
    spent = []
    for _ in range(7):
        begun = time.process_time()
        scored.program.run(leaves)
        spent.append(time.process_time() - begun)
    return sorted(spent)[3]


def _repeated(leaf: Any, times: int) -> Any:
    if not isinstance(leaf, torch.Tensor) or not leaf.dim():
        return leaf
    return leaf.repeat(times, *[1] * (leaf.dim() - 1))[:_BATCH]


def _text(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        told = "  ".join(
            f"{keep}: {_bits(predicted)} / {_bits(measured)}"
            for keep, (predicted, measured) in row["widths"].items()
        )
        name = f"{row['network']} ({row['inputs']})"
        lines.append(
            f"{name:28} {row['narrow']:8} {told}  forwards: {row['forwards']:.0f}"
            f"  provable: {_bits(row['proof']['provable'])} / "
            f"{_bits(row['proof']['measured'])}  {row['proof']['seconds']:.1f} s"
        )
    pairs = [pair for row in rows for pair in row["widths"].values()]
    known = [(p, m) for p, m in pairs if p is not None and m is not None]
    near = sum(abs(p - m) <= 1 for p, m in known)
    lines.append(f"within 1 bit: {near} of {len(pairs)} (predicted / measured)")
    return "\n".join(lines)


def _bits(width: int | None) -> str:
    return "none" if width is None else str(width)


if __name__ == "__main__":
    raise SystemExit(main())
