"""Least uniform widths: as predicted from slopes, and as measured by rounding.

Run it as ``python -m benchmarks.widths``. For each network and each part that is made
narrower (weights, the values that layers read, both) it tells the width from which on a
share of the decisions stays: predicted from at most 32 inputs, and measured on all of
them. *Forwards* is what the prediction costs, in runs of the network at batch 32, by
the time of the processor. *Provable* is the width that the certified bound proves to
keep all of the first 32 decisions, beside the width that was measured on these very
inputs: a proof that says more than was measured would be wrong, and ends with 1.
``--no-proofs`` leaves it out.

A measured width is one draw: other grids round the same values to other numbers.
``--draws N`` measures the width of values again, with ranges wider by up to a tenth.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from benchmarks import printing
from benchmarks.forwards import BATCH, forward_seconds

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
_KEEPS = (0.5, 0.75, 0.9, 0.99, 1.0)
_PROBES = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.networks:
        for row in _of_network(name, options):
            rows.append(row)
            if not options.json:
                print(_line(row), flush=True)
    record = {"benchmark": "widths", "format": options.format, "rows": rows}
    printing.show(record, _text(rows), as_json=options.json)
    return int(any(row["proof"] and row["proof"]["wrong"] for row in rows))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.widths", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=_INPUTS, default=[*_INPUTS])
    parser.add_argument("--format", default="int", help="int, e4 or another family")
    parser.add_argument("--most", type=int, default=1000, help="inputs of a network")
    parser.add_argument("--no-proofs", action="store_true")
    parser.add_argument("--draws", type=int, default=0, help="of grids of values")
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks, options.most = ["digits"], 100
    return options


def _of_network(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    case = load(name, min(_INPUTS[name], options.most))
    scored, format = _scored(case), options.format
    family, widths = named_family(format)
    begun = time.process_time()
    noise = measure_noise(scored, family, widths, _PROBES, 0)
    spent = time.process_time() - begun
    cost = spent / forward_seconds(scored.program, scored.first(BATCH).inputs.leaves)
    for parts in PARTS:
        found = dict(sweep(scored, family, widths, parts, None))
        draws = options.draws if parts == "values" else 0
        yield {
            "network": name,
            "inputs": scored.inputs.count,
            "narrow": parts,
            "widths": _compared(noise, parts, found),
            "forwards": cost,
            "drawn": [_drawn(scored, family, widths, seed) for seed in range(draws)],
            "predicted": kept_share(noise, noise.uniform(parts)).tolist(),
            "measured": {w: kept.share.value for w, kept in found.items()},
            "proof": None
            if options.no_proofs
            else _proved(scored.first(_PROBES), format, parts),
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


def _drawn(
    scored: Scored, family: Family, widths: Sequence[int], seed: int
) -> int | None:
    """Return the least width of values that keeps 99 % where grids are a bit wider."""
    chance, least = random.Random(seed), None
    ends = {
        name: (low * (1 + chance.random() / 10), high * (1 + chance.random() / 10))
        for name, (low, high) in scored.ranges.items()
    }
    wider = replace(scored, ranges=ends)
    for width in sorted(widths, reverse=True):
        if _kept(wider, family, width, "values") < 0.99:
            break
        least = width
    return least


def _scored(case: Case) -> Scored:
    given = as_inputs(case.inputs)
    subject = ready(case.network, given)
    return score_inputs(subject, given, case.tail or scores_of, BATCH)


def _compared(noise: Noise, parts: str, found: dict[int, Any]) -> dict[str, Any]:
    """Return predicted and measured width by the share to keep."""
    shares = [kept.share.value for kept in found.values()]
    shift = noise.uniform(parts)
    told = {}
    for keep in _KEEPS:
        chances = kept_chance(noise, shift, keep).tolist()
        predicted = likely_width(noise.widths, chances)
        told[f"{keep:.0%}"] = (predicted, least_width([*found], shares, keep))
    return told


def _line(row: dict[str, Any]) -> str:
    told = "  ".join(
        f"{keep}: {_bits(predicted)} / {_bits(measured)}"
        for keep, (predicted, measured) in row["widths"].items()
    )
    name, proof = f"{row['network']} ({row['inputs']})", row["proof"]
    line = f"{name:26} {row['narrow']:8} {told}  forwards: {row['forwards']:.0f}"
    if row["drawn"]:
        line += f"  other grids: {' '.join(map(_bits, row['drawn']))}"
    if proof is None:
        return line
    silent = f"  ({proof['silent']})" if proof["silent"] else ""
    return (
        f"{line}  provable: {_bits(proof['provable'])} / {_bits(proof['measured'])}"
        f"  {proof['seconds']:.1f} s{silent}"
    )


def _text(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many widths were predicted well, for each share to keep."""
    lines = []
    for keep in rows[0]["widths"]:
        pairs = [row["widths"][keep] for row in rows]
        known = [(p, m) for p, m in pairs if p is not None and m is not None]
        counts = [sum(abs(p - m) <= off for p, m in known) for off in (0, 1)]
        lines.append(
            f"where {keep} have to stay: the very width {counts[0]}, within 1 bit "
            f"{counts[1]}, of {len(pairs)} (predicted / measured)"
        )
    return "\n".join(lines)


def _bits(width: int | None) -> str:
    return "none" if width is None else str(width)


if __name__ == "__main__":
    raise SystemExit(main())
