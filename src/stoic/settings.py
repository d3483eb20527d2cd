"""What a campaign is, apart from the network and its inputs, and its plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from stoic.campaign.campaign import Several
from stoic.campaign.checks import check_count, check_name
from stoic.criteria import Criterion
from stoic.faults.models import BitFlip, FaultModel
from stoic.faults.space import Block, FaultSpace, Scope
from stoic.network.sites import Kind
from stoic.plans import (
    Adaptive,
    Exhaustive,
    Plan,
    Stratified,
    Uniform,
    allotted,
    check_allocation,
    equal_shares,
    sample_sizes,
)

__all__ = ["Mode", "Settings", "Strata", "plan_of", "strata_of"]

Strata = Literal["none", "site", "bit", "role", "site-bit"]
Mode = Literal["exact", "fast"]
Interval = Literal["guaranteed", "approximate"]

_COUNTS = ("faults", "batch", "shard", "memory", "inputs_per_fault", "at_most")


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
        inputs_per_fault: That a trial of such a campaign runs on; one by default.
        at_most: Trials of such a campaign.
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
    inputs_per_fault: int | None = None
    at_most: int | None = None

    @property
    def adaptive(self) -> bool:
        """Whether trials are chosen by what came of others, until enough is known."""
        wanted = (self.half_width, self.relative, self.seconds)
        return any(value is not None for value in wanted)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_count(name, getattr(self, name))
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
        self._check_adaptive()

    def _check_adaptive(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"time must be above 0 s, got {self.seconds}")
        if not self.adaptive:
            approximate = None if self.interval == "guaranteed" else self.interval
            alone = {
                "inputs per fault": self.inputs_per_fault,
                "at most": self.at_most,
                "interval": approximate,
            }
            for name, value in alone.items():
                if value is not None:
                    raise ValueError(
                        f"{name} must come with a half width, a relative width or a "
                        f"time, got {value} without; give one"
                    )
            return
        self.adaptive_plan()
        others = {
            "every fault": self.faults is None,
            f"strata {self.strata}": self.strata != "none",
            "faults drawn with replacement": self.replacement,
            "several faults at once": self.several is not None,
            "a batch": self.batch is not None,
            "a margin": self.margin is not None,
        }
        for name, asked in others.items():
            if asked:
                raise ValueError(
                    "a width or time to reach must leave the choice of faults to the "
                    f"plan, got {name} as well; leave one of them out"
                )

    def adaptive_plan(self) -> Adaptive:
        """Return the plan that goes on until enough is known."""
        plan = Adaptive(
            self.half_width,
            self.relative,
            self.interval == "guaranteed",
            per_trial=self.inputs_per_fault or 1,
        )
        return plan if self.at_most is None else replace(plan, most=self.at_most)

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
        if self.allocation is None:
            return
        check_allocation(self.allocation)
        if whole or self.strata == "none":
            raise ValueError(
                f"an allocation must be to strata, got {got}; choose strata, and a "
                "number of faults"
            )


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


def plan_of(chosen: Settings, strata: tuple[tuple[str, FaultSpace], ...]) -> Plan:
    """Return the plan that settings ask for.

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
        return _stratified(sample_sizes(sizes, chosen.margin))
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
