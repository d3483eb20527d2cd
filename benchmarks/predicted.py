"""Predicted against measured vulnerability of each tensor and bit, without injection.

Run it as ``python -m benchmarks.predicted --runs FOLDER``. It measures cases, with as
many faults in each bit of each tensor, into run folders that are gone on with, and then
predicts the same cells. Beside the prediction stand two that need less: the measured
mean of the same bit in the other tensors, and how far the bit moves words. A random
half of the measured faults against the other says what noise allows. Within a bit the
first has no order: its -1 only says that a tensor is left out of its own mean.

``--fit`` prints the calibration curve that all faults of ``digits`` give; it is the one
that the package has. All other cases have had no part in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata, spearmanr
from torch import Tensor

import stoic
from stoic.faults.formats import flat_words
from stoic.faults.models import Corruption
from stoic.faults.selection import chosen_sites
from stoic.faults.space import Fault, FaultSpace, fault_space
from stoic.network.slopes import program_of
from stoic.network.subject import Subject
from stoic.population.fields import changed_words, numbers_of
from stoic.sensitivity.chances import Curve, reliability
from stoic.sensitivity.predicted import Look, predicted, predicted_faults
from stoic.settings import Settings, strata_of
from stoic.study import as_inputs, ready

__all__ = ["fitted_curve", "main"]

Floats = NDArray[np.float64]
Key = tuple[str, int]

_DRAWS = 300
# Bits with so many vulnerable tensors have an order to be compared.
_TENSORS = 4
_LOW_BITS = 14
# Drifts within such a factor of 1 tell where a curve rises.
_NEAR = 8.0


@dataclass(frozen=True)
class Plan:
    """What is measured of a case.

    Args:
        inputs: Of the case.
        each: Faults in each bit of each tensor at most.
        low: The same of bits 0 to 13.
        sites: Globs of tensors.
        bits: Of their words.
        rivals: Classes whose slopes the prediction has.
    """

    inputs: int
    each: int
    low: int
    sites: str = "*"
    bits: str = "all"
    rivals: int = 48


_LITE0 = "stem*,head*,classifier*,blocks.5.*,blocks.10.*"
PLANS = {
    "signs": Plan(32, 150, 30, rivals=24),
    "imagenet": Plan(4, 56, 56, _LITE0, "23-31", 24),
    "digits": Plan(64, 10**6, 10**6),
}


@dataclass(frozen=True)
class Measured:
    """A case and what was measured of it.

    Args:
        case: With its inputs.
        subject: Its network, ready.
        space: Of faults.
        places: Columns ``site``, ``element``, ``bit`` of the faults tried.
        failed: Verdicts, ``[faults, inputs]``.
    """

    case: stoic.Case
    subject: Subject
    space: FaultSpace
    places: Mapping[str, NDArray[Any]]
    failed: NDArray[np.bool_]

    @cached_property
    def cells(self) -> dict[Key, NDArray[np.int64]]:
        """The faults of each tensor and bit."""
        found: dict[Key, list[int]] = {}
        keys = zip(self.places["site"], self.places["bit"], strict=True)
        for number, (site, bit) in enumerate(keys):
            found.setdefault((str(site), int(bit)), []).append(number)
        return {key: np.array(found[key]) for key in sorted(found)}

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """The bit of each cell."""
        return np.array([bit for _, bit in self.cells])

    @property
    def pvf(self) -> Floats:
        """Share of verdicts that turned, by cell."""
        return self.means(self.failed.mean(1))

    def means(self, numbers: Floats) -> Floats:
        """Return means over the faults of each cell."""
        return np.array([numbers[own].mean() for own in self.cells.values()])

    def faults(self) -> list[Fault]:
        """Return the faults tried, all of them flips in float32."""
        sites = {site.name: site for site in self.subject.sites}
        columns = [self.places[name].tolist() for name in ("site", "element", "bit")]
        return [
            Fault(sites[s], e, None, Corruption(2**32 - 1, 1 << b, b))
            for s, e, b in zip(*columns, strict=True)
        ]

    def look(self, rivals: int, **given: Any) -> Look:
        """Return what predictions look at."""
        program, inputs = program_of(self.subject), as_inputs(self.case.inputs)
        return Look(program, inputs, self.case.judged_by, rivals=rivals, **given)


def measured(name: str, plan: Plan, folder: Path) -> Measured:
    """Measure a case, or go on with its run, and read what came out."""
    case = stoic.load(name, plan.inputs)
    subject = ready(case.network, case.inputs)
    sites = chosen_sites(subject.sites, include=plan.sites)
    space = fault_space(sites, bits=plan.bits, inputs=plan.inputs)
    settings = Settings(
        sites=plan.sites,
        bits=plan.bits,
        strata="site-bit",
        allocation={
            stratum: min(part.size, _wanted(plan, stratum))
            for stratum, part in strata_of(space, "site-bit")
        },
        mode="fast",
        criterion=case.criterion,
    )
    run = stoic.pvf(
        *(case.network, case.inputs, case.labels),
        settings=settings,
        out=folder / name,
        name=case.name,
        classes=case.classes,
    ).path
    return Measured(case, subject, space, *_read(run, plan.inputs))


def _wanted(plan: Plan, stratum: str) -> int:
    return plan.low if int(stratum.rsplit(" ", 1)[1]) < _LOW_BITS else plan.each


def _read(run: Path, inputs: int) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    shards, query = f"{run}/shards/*", duckdb.connect().execute
    places = query(
        f"SELECT trial, site, element::BIGINT AS element, bit::BIGINT AS bit "
        f"FROM read_parquet('{shards}/faults.parquet') ORDER BY trial"
    ).fetchnumpy()
    bad = query(
        f"SELECT trial, input FROM read_parquet('{shards}/outcomes.parquet') "
        "WHERE failed"
    ).fetchnumpy()
    found = {name: np.asarray(column) for name, column in places.items()}
    failed = np.zeros((len(found["trial"]), inputs), bool)
    failed[np.searchsorted(found["trial"], bad["trial"]), bad["input"]] = True
    return found, failed


def scores(pvf: Floats, guess: Floats, bits: NDArray[np.int64]) -> Floats:
    """Return AUROC, rank correlation of vulnerable cells, and within bits twice."""
    some = pvf > 0
    ranks, count = rankdata(guess), int(some.sum())
    area = ranks[some].sum() - count * (count + 1) / 2
    auroc = area / max(count * int((~some).sum()), 1)
    return np.array(
        [
            auroc,
            _rank(pvf[some], guess[some]),
            _within(pvf, guess, bits, some, np.ones_like(some)),
            _within(pvf, guess, bits, some, some),
        ]
    )


def _within(
    pvf: Floats,
    guess: Floats,
    bits: NDArray[np.int64],
    some: NDArray[np.bool_],
    among: NDArray[np.bool_],
) -> float:
    """Return the median rank correlation of the tensors under each bit."""
    wanted = [bit for bit in np.unique(bits) if some[bits == bit].sum() >= _TENSORS]
    each = [_rank(*(x[(bits == bit) & among] for x in (pvf, guess))) for bit in wanted]
    return float(np.nanmedian(each)) if each else float("nan")


def _rank(first: Floats, second: Floats) -> float:
    if len(first) < 3 or np.ptp(first) == 0:
        return float("nan")
    return 0.0 if np.ptp(second) == 0 else float(spearmanr(first, second).statistic)


def told(name: str, found: Measured, guess: Floats) -> str:
    """Return the scores of a predictor in a line, with limits over drawn cells."""
    pvf, bits, chance = found.pvf, found.bits, np.random.default_rng(0)
    draws = [chance.integers(0, len(pvf), len(pvf)) for _ in range(_DRAWS)]
    many = np.array([scores(pvf[own], guess[own], bits[own]) for own in draws])
    with np.errstate(all="ignore"):
        low, high = np.nanquantile(many, (0.025, 0.975), axis=0)
    each = zip(scores(pvf, guess, bits), low, high, strict=True)
    return f"{name:<22}" + "".join(f"{v:8.3f} [{a:.2f}, {b:.2f}]" for v, a, b in each)


def halves(found: Measured) -> str:
    """Return what a random half of the faults scores as a predictor of the other."""
    many, share = [], found.failed.mean(1)
    for seed in range(20):
        chance = np.random.default_rng(seed)
        drawn = [chance.permutation(own) for own in found.cells.values()]
        one, other = (
            np.array(
                [share[own[start::2]].mean() if len(own) > 1 else 0 for own in drawn]
            )
            for start in (0, 1)
        )
        many.append(scores(one, other, found.bits))
    each = np.nanmean(many, axis=0)
    return f"{'half of the faults':<22}" + "".join(f"{v:8.3f}{'':13}" for v in each)


def by_bit(found: Measured) -> Floats:
    """Return the mean measured PVF of the same bit in the other tensors."""
    pvf, bits = found.pvf, found.bits
    totals = {bit: (pvf[bits == bit].sum(), (bits == bit).sum()) for bit in {*bits}}
    return np.array(
        [
            (totals[bit][0] - own) / max(totals[bit][1] - 1, 1)
            for own, bit in zip(pvf, bits, strict=True)
        ]
    )


def by_distance(found: Measured) -> Floats:
    """Return how far faults move words on average, in each cell."""
    values, moved = program_of(found.subject).stored, []
    sites = {site.name: site for site in found.subject.sites}
    for (name, bit), own in found.cells.items():
        tensor, dtype = values[sites[name].value], sites[name].dtype
        old = flat_words(tensor)[found.places["element"][own]]
        new = changed_words(old, Corruption(2**32 - 1, 1 << bit, bit))
        with np.errstate(all="ignore"):
            distance = np.abs(numbers_of(new, dtype) - numbers_of(old, dtype))
        moved.append(
            np.nan_to_num(distance, nan=1e39, posinf=1e39).clip(max=1e39).mean()
        )
    return np.array(moved)


def report(name: str, plan: Plan, folder: Path) -> None:
    """Print a case: its scores, its costs and the calibration."""
    found = measured(name, plan, folder)
    look = found.look(plan.rivals)
    seconds, run = _timed(lambda: predicted(look, found.space))
    once = min(_timed(lambda: _forwards(look))[0] for _ in range(3))
    cells = {(c.site, c.bit): c.chance for c in run.cells}
    guess = np.array([cells[key] for key in found.cells])
    bad = int((found.pvf > 0).sum())
    print(
        f"\n{name}: {len(guess)} cells, {bad} of them with failures, of "
        f"{len(found.failed):,} faults on {plan.inputs} inputs\n"
        f"prediction: slopes of {run.passes:.1f} forward passes at batch 32; all in "
        f"all {seconds:.1f} s, as long as {seconds / once:.0f} passes\n\n"
        f"{'':<22}{'zero or not':<21}{'with failures':<21}"
        f"{'within bits':<21}{'the same, failing'}"
    )
    print(told("predicted", found, guess))
    print(told("the bit alone", found, by_bit(found)))
    print(told("the distance alone", found, by_distance(found)))
    print(halves(found))
    _print_reliability(found, look)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _forwards(look: Look) -> None:
    """Run as many inputs as 32, in batches as large as there are inputs."""
    batch = min(look.inputs.count, 32)
    with torch.inference_mode():
        for _ in range(32 // batch):
            look.program.run(look.inputs.rows(0, batch).leaves)


def _print_reliability(found: Measured, look: Look, most: int = 20_000) -> None:
    chance = np.random.default_rng(0)
    count = len(found.failed)
    own = np.sort(chance.permutation(count)[:most])
    faults = found.faults()
    chances = predicted_faults(look, [faults[n] for n in own])
    print(f"\nsingle verdicts of {len(own):,} faults\n{'predicted':>10}  turned")
    for point in reliability(chances.ravel(), found.failed[own].ravel()):
        print(
            f"{point.predicted:10.2g}  {point.measured:.2g} "
            f"[{point.low:.2g}, {point.high:.2g}] of {point.count:,}"
        )


def fit(folder: Path) -> Curve:
    """Return the curve of all faults of digits, whose every class has slopes."""
    found = measured("digits", PLANS["digits"], folder)

    def itself(drift: Tensor) -> Tensor:
        return drift

    drift = predicted_faults(found.look(48, curve=itself), found.faults())
    return fitted_curve(drift.ravel(), found.failed.ravel())


def fitted_curve(drift: NDArray[np.float64], failed: NDArray[np.bool_]) -> Curve:
    """Return the curve that some verdicts make the most likely.

    Its place and steepness come from drifts near 1, its ceiling from those far above:
    a few verdicts that hang on something else would bend the whole curve.

    Args:
        drift: That decides, one per fault and input.
        failed: What came of each.

    Raises:
        ValueError: There are no drifts near 1, or none far above.
    """
    near, far = (drift > 1 / _NEAR) & (drift < _NEAR), drift >= _NEAR
    if not near.any() or not far.any():
        raise ValueError("drifts must lie near 1 and far above it, got others only")
    logs, signs = np.log(drift[near]), np.where(failed[near], 1.0, -1.0)

    def surprise(curve: NDArray[np.float64]) -> float:
        scores = signs * (np.exp(curve[0]) * logs + curve[1])
        return float(np.logaddexp(0, -scores).mean())

    steepness, shift = minimize(surprise, [1.0, 0.0], method="Nelder-Mead").x
    return Curve(float(np.exp(steepness)), float(shift), float(failed[far].mean()))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=[*PLANS], choices=[*PLANS])
    parser.add_argument("--runs", type=Path, required=True, help="Folder of the runs.")
    parser.add_argument("--fit", action="store_true", help="The curve alone.")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(1)
    if chosen.fit:
        print(fit(chosen.runs))
        return
    for name in chosen.cases:
        report(name, PLANS[name], chosen.runs)


if __name__ == "__main__":
    main()
