"""Outcomes that differ from a naive deep copy: none may, over six kinds of networks.

Run it as ``python -m benchmarks.agreement``. Faults of every kind of site and operator
are run three ways: exactly, fast, and naively; where a site can be hit from outside,
also by an oracle that shares nothing with Stoic. In exact mode every bit of the output
must agree, in fast mode every verdict and every non-finite output.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benchmarks import printing, stoic_side
from benchmarks.oracle import Oracle, same_bits
from benchmarks.stoic_side import Facts, Output, Prepared
from benchmarks.subjects import SUBJECTS, Subject
from torch import Tensor

from stoic.faults.formats import Format, format_of
from stoic.faults.space import Fault
from stoic.network.sites import Site

__all__ = ["main"]

_PER_KIND = 50
_CONSEQUENCES = 300
_FAULTS = 2000
_TOP_EXPONENT = 30


@dataclass(frozen=True)
class Case:
    """A fault, and what kind of place it hits."""

    fault: Fault
    kind: str
    operator: str

    @property
    def bit(self) -> int:
        """That is inverted."""
        return self.fault.corruption.bit

    @property
    def role(self) -> str:
        """Of the bit."""
        return _format(self.fault.site).roles[self.bit]

    def __str__(self) -> str:
        fault = self.fault
        where = "" if fault.input is None else f" of input {fault.input}"
        return f"{fault.site.name}[{fault.element}] bit {self.bit}{where}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; exit 1 on a difference, 3 if too few faults matter."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    record = {
        "benchmark": "agreement",
        "faults": options.faults,
        "networks": {name: _network(name, options) for name in options.networks},
    }
    printing.show(record, _text(record), as_json=options.json)
    found = record["networks"].values()
    if any(network["differing"] for network in found):
        return 1
    return 3 if any(network["short_of"] for network in found) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.agreement", description=__doc__
    )
    parser.add_argument("--networks", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--faults", type=int, default=_FAULTS, help="per network")
    printing.device_option(parser)
    printing.common_options(parser)
    options = parser.parse_args(argv)
    if options.quick:
        options.faults = 60
    return options


def _network(name: str, options: argparse.Namespace) -> dict[str, Any]:
    count, seed = options.faults, options.seed
    printing.say(f"{name}: capturing")
    torch.manual_seed(seed)
    subject = SUBJECTS[name]().on(options.device)
    ready = stoic_side.prepared(subject.network, subject.inputs)
    cases = drawn(ready, count, seed)
    faults = [case.fault for case in cases]
    printing.say(f"{name}: {count} faults exactly and fast")
    exact = stoic_side.facts_of(
        stoic_side.run(ready, faults, "exact", subject.criterion)
    )
    fast = stoic_side.facts_of(stoic_side.run(ready, faults, "fast", subject.criterion))
    printing.say(f"{name}: {count} faults naively")
    naive = stoic_side.naive(subject.network, ready)
    right = stoic_side.facts_of(
        stoic_side.run(naive, faults, "exact", subject.criterion)
    )
    differing = {
        "exact facts": _unlike(exact, right, every=True),
        "fast outcomes": _unlike(fast, right, every=False),
        **_bits(name, subject, ready, naive, cases),
    }
    return _record(subject, ready, cases, right, differing)


def drawn(ready: Prepared, count: int, seed: int) -> list[Case]:
    """Draw faults: enough of each kind of place, the rest over all sites alike.

    Half of the bits are the highest exponent bit or the sign, where faults matter most.
    """
    chance = random.Random(f"agreement {seed}")
    places: dict[tuple[str, str], list[Site]] = {}
    for site in ready.subject.sites:
        places.setdefault(_place(ready, site), []).append(site)
    least = min(_PER_KIND, count // len(places))
    cases: dict[Fault, Case] = {}
    for place, sites in places.items():
        _fill(cases, ready, {place: sites}, len(cases) + least, chance)
    _fill(cases, ready, places, count, chance)
    return list(cases.values())


def _place(ready: Prepared, site: Site) -> tuple[str, str]:
    if site.kind == "input":
        return "input", str(site.dtype).removeprefix("torch.")
    return site.kind, stoic_side.operator_of(ready, site)


def _fill(
    cases: dict[Fault, Case],
    ready: Prepared,
    places: Mapping[tuple[str, str], list[Site]],
    until: int,
    chance: random.Random,
) -> None:
    """Add different faults, as long as there are any to be found."""
    pairs = [(place, site) for place, sites in places.items() for site in sites]
    for _ in range(100 * max(until, 1)):
        if len(cases) >= until:
            return
        place, site = chance.choice(pairs)
        fault = _fault(site, ready.inputs.count, chance)
        cases.setdefault(fault, Case(fault, *place))


def _fault(site: Site, inputs: int, chance: random.Random) -> Fault:
    element = chance.randrange(site.elements)
    alone = site.per_input and chance.random() < 0.8
    input = chance.randrange(inputs) if alone else None
    return stoic_side.flip(site, element, _bit(_format(site), chance), input)


def _format(site: Site) -> Format:
    format = format_of(site.dtype)
    assert format is not None
    return format


def _bit(format: Format, chance: random.Random) -> int:
    harsh = [b for b, role in enumerate(format.roles) if role in ("exponent", "sign")]
    turn = chance.random()
    if harsh and turn < 0.5:
        return chance.choice(harsh[-2:])
    if harsh and turn < 0.7:
        return chance.choice(harsh)
    return chance.randrange(format.width)


def _unlike(mine: list[Facts], right: list[Facts], *, every: bool) -> list[int]:
    """Return faults whose facts differ: every fact, or failed and non-finite only."""
    pairs = enumerate(zip(mine, right, strict=True))
    return [number for number, (a, b) in pairs if not _alike(a, b, every)]


def _alike(a: Facts, b: Facts, every: bool) -> bool:
    if a.status != b.status:
        return False
    if every:
        same = a.rows.keys() == b.rows.keys()
        return same and all(_equal(a.rows[i], b.rows[i]) for i in a.rows)
    golden = {"failed": 0.0, "nonfinite": 0.0}
    for input in a.rows.keys() | b.rows.keys():
        left, right = a.rows.get(input, golden), b.rows.get(input, golden)
        if any(left[name] != right[name] for name in golden):
            return False
    return True


def _equal(a: dict[str, float], b: dict[str, float]) -> bool:
    pair = np.array([[facts[name] for name in b] for facts in (a, b)])
    return a.keys() == b.keys() and np.array_equal(pair[0], pair[1], equal_nan=True)


@torch.inference_mode()
def _bits(
    name: str, subject: Subject, ready: Prepared, naive: Prepared, cases: list[Case]
) -> dict[str, list[int]]:
    """Compare every bit of the output with two oracles."""
    faults = [case.fault for case in cases]
    exact = {o.trial: o for o in stoic_side.outputs(ready, faults, "exact")}
    printing.say(f"{name}: every bit of the output against the naive oracle")
    unlike = [
        output.trial
        for output in stoic_side.outputs(naive, faults, "exact")
        if not _same_output(exact[output.trial], output, ready.bench.golden)
    ]
    printing.say(f"{name}: every bit of the output against the independent oracle")
    by_parts = bool(getattr(ready.subject, "fused_attention", False))
    oracle = Oracle(subject.network, subject.inputs, by_parts=by_parts)
    known = [n for n, case in enumerate(cases) if _known(oracle, case)]
    copies = [
        n
        for n in known
        if not _as_oracle(oracle, cases[n], exact[n], ready.bench.golden)
    ]
    return {"exact bits": sorted(unlike), f"deep copy ({len(known)})": copies}


def _same_output(a: Output, b: Output, golden: Tensor) -> bool:
    if a.raised or b.raised:
        return a.raised == b.raised
    return same_bits(_full(a, golden), _full(b, golden))


def _full(output: Output, golden: Tensor) -> Tensor:
    """Return the output of the whole batch."""
    if output.leaves is None:
        return golden
    (scores,) = output.leaves
    if output.inputs is None:
        return scores
    full = golden.clone()
    full[torch.from_numpy(output.inputs)] = scores
    return full


def _known(oracle: Oracle, case: Case) -> bool:
    site = case.fault.site
    if site.kind == "activation" and not site.per_input:
        return False
    return oracle.knows(site.name, site.kind)


def _as_oracle(oracle: Oracle, case: Case, mine: Output, golden: Tensor) -> bool:
    fault = case.fault
    site = fault.site
    try:
        right = oracle(site.name, site.kind, fault.element, case.bit, fault.input)
    except Exception as error:
        return mine.raised == type(error).__name__
    return not mine.raised and same_bits(_full(mine, golden), right)


def _record(
    subject: Subject,
    ready: Prepared,
    cases: list[Case],
    right: list[Facts],
    differing: dict[str, list[int]],
) -> dict[str, Any]:
    wrong = sorted(set().union(*differing.values()))
    places = Counter(f"{case.kind} {case.operator}" for case in cases)
    matter = sum(
        any(row["failed"] or row["nonfinite"] for row in facts.rows.values())
        for facts in right
    )
    roles = Counter(case.role for case in cases)
    counts = {
        "faults": len(cases),
        "exponent or sign": roles["exponent"] + roles["sign"],
        "consequences": matter,
        "crashes": sum(facts.status == "crash" for facts in right),
    }
    return {
        "about": subject.about,
        "captured": ready.subject.reason or "yes",
        **counts,
        "places": dict(sorted(places.items())),
        "short_of": _short_of(counts, places),
        "unlike": {how: len(numbers) for how, numbers in differing.items()},
        "differing": [
            {
                "fault": str(cases[n]),
                "how": [h for h, ns in differing.items() if n in ns],
            }
            for n in wrong
        ],
    }


def _short_of(counts: dict[str, int], places: Counter[str]) -> list[str]:
    """Return what a full comparison needs and this one lacks."""
    needed = {"faults": _FAULTS, "exponent or sign": _FAULTS // 2}
    needed["consequences"] = _CONSEQUENCES
    few = [place for place, count in places.items() if count < _PER_KIND]
    return [name for name, least in needed.items() if counts[name] < least] + few


def _text(record: dict[str, Any]) -> str:
    networks = record["networks"]
    parts = [_summary(networks)]
    for name, network in networks.items():
        rows = [[place, count] for place, count in network["places"].items()]
        parts.append(
            f"{name}: {network['about']}; captured: {network['captured']}\n"
            + printing.table(["faults in", "number"], rows)
        )
        if network["short_of"] and record["faults"] >= _FAULTS:
            parts.append(f"{name}: too few: {', '.join(network['short_of'])}")
        parts += [
            f"{name}: DIFFERS: {case['fault']} ({', '.join(case['how'])})"
            for case in network["differing"][:10]
        ]
    return "\n\n".join(parts)


def _summary(networks: dict[str, Any]) -> str:
    heads = ["network", "faults", "exponent or sign", "with consequences", "crashes"]
    heads += ["exact bits", "exact facts", "fast outcomes", "deep copy"]
    rows = []
    for name, network in networks.items():
        unlike = network["unlike"]
        (copies,) = [how for how in unlike if how.startswith("deep copy")]
        of = copies.removeprefix("deep copy ").strip("()")
        rows.append(
            [
                name,
                network["faults"],
                network["exponent or sign"],
                network["consequences"],
                network["crashes"],
                unlike["exact bits"],
                unlike["exact facts"],
                unlike["fast outcomes"],
                f"{unlike[copies]} of {of}",
            ]
        )
    return (
        f"{printing.table(heads, rows)}\n\n"
        "with consequences: change a verdict or make an output non-finite\n"
        "exact bits, exact facts, fast outcomes: trials that differ from Stoic's naive "
        "oracle\ndeep copy: trials whose exact output differs from the independent "
        "oracle's, of those it knows"
    )


if __name__ == "__main__":
    raise SystemExit(main())
