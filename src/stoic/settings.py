"""What a campaign is, apart from the network and its inputs, and its plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor

from stoic.campaign.campaign import Several
from stoic.campaign.checks import check_count, check_name
from stoic.criteria import Criterion
from stoic.faults.models import BitFlip, FaultModel
from stoic.faults.space import Block, FaultSpace, Scope
from stoic.network.sites import Kind, Site
from stoic.plans import (
    Adaptive,
    Design,
    Exhaustive,
    Plan,
    Preset,
    Stratified,
    Uniform,
    allotted,
    check_allocation,
    equal_shares,
    expected_shares,
    sample_sizes,
)
from stoic.population.distances import mean_distances

__all__ = ["Mode", "Settings", "Strata", "plan_of", "shares_of", "strata_of"]

Strata = Literal["none", "site", "bit", "role", "site-bit"]
Mode = Literal["exact", "fast"]
Interval = Literal["guaranteed", "approximate"]

_COUNTS = ("faults", "batch", "shard", "memory", "at_most")


@dataclass(frozen=True)
class Settings:
    """What a campaign is, apart from the network and its inputs.

    Args:
        sites: Globs over the names of sites, comma-separated.
        exclude: Globs of sites to leave out.
        kinds: Kinds of sites meant.
        bits: Numbers, ranges and roles of bits, comma-separated.
        model: How a word is corrupted.
        several: How many faults strike together, if more than one may.
        scope: Whether a fault in an activation or input hits one input or all.
        faults: How many trials; nothing for every fault there is.
        replacement: Whether a fault may be drawn again.
        strata: Whether to draw equally many faults from each site, bit or role.
        allocation: How many faults to draw from strata by their names, in place of
            ``faults``; those left out get none and stay unknown.
        margin: As many faults of each stratum as a Wald interval of that half width
            needs at most, in place of ``faults``: the sizes of DATE 2009, and with
            strata those of DATE 2023.
        data_aware: Whether such a margin is to reckon with a share of failures by how
            far each bit moves the weights, in place of the worst, one half.
        seed: Of all randomness.
        criterion: What counts as a failure.
        mode: ``exact``, or ``fast``: the same verdicts, last bits may differ.
        batch: Inputs per run; all of them at once by default, 64 at the most.
        limit_s: Seconds that a trial may take for a batch.
        shard: Trials per shard; by the time that they may take, if not given.
        captured: Whether to capture the network if it can be.
        as_deployed: Whether to fold batch norms into the weights before faults are
            drawn; the network that was given stays as it is.
        best: How many of the best classes are kept of each output.
        memory: Bytes that golden values and trials may add to the process; what does
            not fit is computed again.
        half_width: Half the width that the interval shall have: trials go where they
            tell most until it has, and ``faults`` is not asked.
        relative: The same, as a part of the estimate; the first that is met counts.
        seconds: The same, for so long at most.
        interval: Of such a campaign: ``guaranteed`` or ``approximate``.
        inputs_per_fault: That a trial of such a campaign runs on; one by default,
            ``auto`` for what a pilot of timed trials finds best.
        at_most: Trials of such a campaign.
        plan: Where none of the three is given: ``uniform``, ``stratified`` or
            ``importance``. As many trials as ``faults`` says, each a fault on so many
            inputs, drawn with the scores and proofs that such a campaign has.
    """

    sites: str = "*"
    exclude: str = ""
    kinds: tuple[Kind, ...] = ("parameter",)
    bits: str = "all"
    model: FaultModel = BitFlip()
    several: Several | None = None
    scope: Scope = "input"
    faults: int | None = 1000
    replacement: bool = False
    strata: Strata = "none"
    allocation: Mapping[str, int] | None = None
    margin: float | None = None
    data_aware: bool = False
    seed: int = 0
    criterion: Criterion | str = "top1-changed"
    mode: Mode = "exact"
    batch: int | None = None
    limit_s: float = 60.0
    shard: int | None = None
    captured: bool = True
    as_deployed: bool = False
    best: int = 5
    memory: int | None = None
    half_width: float | None = None
    relative: float | None = None
    seconds: float | None = None
    interval: Interval = "guaranteed"
    inputs_per_fault: int | Literal["auto"] | None = None
    at_most: int | None = None
    plan: Design | None = None

    @property
    def adaptive(self) -> bool:
        """Whether trials are chosen by what came of others, until enough is known."""
        wanted = (self.half_width, self.relative, self.seconds)
        return any(value is not None for value in wanted)

    @property
    def on_units(self) -> bool:
        """Whether trials are of a fault on one input, or a few."""
        return self.adaptive or self.plan is not None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_count(name, getattr(self, name))
        if self.inputs_per_fault != "auto":
            check_count("inputs_per_fault", self.inputs_per_fault)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        for kind in self.kinds:
            check_name("kind", kind, get_args(Kind))
        check_name("scope", self.scope, get_args(Scope))
        check_name("strata", self.strata, get_args(Strata))
        check_name("mode", self.mode, get_args(Mode))
        check_name("interval", self.interval, get_args(Interval))
        if not 0 < self.limit_s < math.inf:
            raise ValueError(f"time limit must be above 0 s, got {self.limit_s}")
        check_count("best", self.best, 0)
        self._check_draws()
        self._check_units()

    def _check_units(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"time must be above 0 s, got {self.seconds}")
        if self.plan is not None:
            check_name("plan", self.plan, get_args(Design))
        self._check_alone()
        if not self.on_units:
            return
        self.units_plan()
        others = {
            "every fault": self.faults is None,
            f"strata {self.strata}": self.strata != "none",
            "faults drawn with replacement": self.replacement,
            "several faults at once": self.several is not None,
            "a batch": self.batch is not None,
            "a margin": self.margin is not None,
            f"plan {self.plan}": self.adaptive and self.plan is not None,
        }
        asker = "a width or time to reach" if self.adaptive else f"plan {self.plan}"
        for name, asked in others.items():
            if asked:
                raise ValueError(
                    f"{asker} must leave the choice of faults to the plan, got {name} "
                    "as well; leave one of them out"
                )

    def _check_alone(self) -> None:
        """Refuse what says nothing without a width or time to reach, or a plan."""
        approximate = None if self.interval == "guaranteed" else self.interval
        asked = {
            "inputs per fault": (self.on_units, self.inputs_per_fault),
            "interval": (self.on_units, approximate),
            "at most": (self.adaptive, self.at_most),
        }
        for name, (goes, value) in asked.items():
            if not goes and value is not None:
                others = "or a time" if name == "at most" else "a time or a plan"
                raise ValueError(
                    f"{name} must come with a half width, a relative width, {others}, "
                    f"got {value} without; give one"
                )

    def units_plan(self) -> Adaptive | Preset:
        """Return the plan of a campaign on units."""
        guaranteed = self.interval == "guaranteed"
        asked = self.inputs_per_fault
        inputs = 1 if asked is None or asked == "auto" else asked
        if self.plan is not None and not self.adaptive:
            trials = self.faults or 1
            return Preset(self.plan, trials, guaranteed, per_trial=inputs)
        plan = Adaptive(self.half_width, self.relative, guaranteed, per_trial=inputs)
        return plan if self.at_most is None else replace(plan, most=self.at_most)

    def _check_data_aware(self) -> None:
        if not self.data_aware:
            return
        if self.margin is None or self.strata not in ("bit", "site-bit"):
            raise ValueError(
                "data-aware sizes must have a margin and strata bit or site-bit, got "
                f"margin {self.margin} and strata {self.strata}"
            )
        if not {*self.kinds} <= {"parameter", "buffer"}:
            raise ValueError(
                "data-aware sizes must be of stored words, got kind "
                f"{', '.join(self.kinds)}; choose parameter or buffer"
            )

    def _check_draws(self) -> None:
        whole = self.faults is None
        got = "every fault" if whole else f"strata {self.strata}"
        if self.several and (whole or self.strata != "none"):
            raise ValueError(
                f"several faults at once must be drawn uniformly, got {got}; "
                "give a number of trials and no strata"
            )
        if self.replacement and (whole or self.strata != "none"):
            raise ValueError(
                f"faults drawn with replacement must be drawn uniformly, got {got}; "
                "give a number of trials and no strata"
            )
        if self.margin is not None:
            sample_sizes({}, self.margin)
            if whole or self.several or self.allocation is not None:
                raise ValueError(
                    "a margin must decide how many faults are drawn, got every fault, "
                    "several at once or an allocation as well; leave one of them out"
                )
        self._check_data_aware()
        if self.allocation is None:
            return
        check_allocation(self.allocation)
        if whole or self.strata == "none":
            raise ValueError(
                f"an allocation must be to strata, got {got}; choose strata, and a "
                "number of faults"
            )


def shares_of(
    strata: tuple[tuple[str, FaultSpace], ...], tensor_of: Callable[[Site], Tensor]
) -> dict[str, float]:
    """Return the share of failures to reckon with in each stratum, by its weights.

    Args:
        strata: Of one bit each.
        tensor_of: The words that are stored at a site.
    """
    blocks = [block for _, space in strata for block in space.blocks]
    shares: dict[tuple[str, int], float] = {}
    distances = mean_distances(blocks, tensor_of)
    for name in {name for name, _ in distances}:
        own = {key: value for key, value in distances.items() if key[0] == name}
        shares |= expected_shares(own)
    firsts = [(name, space.blocks[0]) for name, space in strata]
    return {name: shares[b.format.name, b.bits[0]] for name, b in firsts}


def strata_of(space: FaultSpace, by: Strata) -> tuple[tuple[str, FaultSpace], ...]:
    """Return the parts of a fault space that a plan draws from, by name."""
    if by == "none":
        return (("all", space),)
    if by == "site":
        return tuple(space.split(lambda block: block.site.name).items())
    keys: dict[str, Callable[[Block], str]] = {
        "bit": lambda block: f"{block.format.name} bit {block.bits[0]}",
        "role": lambda b: f"{b.format.name} {b.format.roles[b.bits[0]]}",
        "site-bit": lambda block: f"{block.site.name} bit {block.bits[0]}",
    }
    return tuple(space.by_bit().split(keys[by]).items())


def plan_of(
    chosen: Settings,
    strata: tuple[tuple[str, FaultSpace], ...],
    shares: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan that settings ask for.

    Args:
        chosen: The settings.
        strata: Parts of the fault space by name.
        shares: Of failures that a margin reckons with, by stratum; one half by default.

    Raises:
        ValueError: There are not so many faults, or no such strata.
    """
    sizes = {name: space.size for name, space in strata}
    total = sum(sizes.values())
    if chosen.faults is None:
        return Exhaustive()
    if chosen.allocation is not None:
        return _stratified(allotted(sizes, chosen.allocation))
    if chosen.margin is not None:
        return _stratified(sample_sizes(sizes, chosen.margin, shares=shares))
    if chosen.several is not None:
        if (chosen.several.count or 0) > total:
            raise ValueError(
                f"faults at once must be at most {total}, the size of the fault "
                f"space, got {chosen.several.count}"
            )
        return Uniform(chosen.faults, replacement=True)
    if chosen.replacement:
        return Uniform(chosen.faults, replacement=True)
    if chosen.faults > total:
        raise ValueError(
            f"faults must be at most {total}, the size of the fault space, got "
            f"{chosen.faults}; try every fault instead: faults=None or --exhaustive"
        )
    return _stratified(equal_shares(sizes, chosen.faults))


def _stratified(shares: dict[str, int]) -> Plan:
    if len(shares) == 1:
        return Uniform(sum(shares.values()))
    return Stratified(shares)
