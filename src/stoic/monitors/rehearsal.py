"""Rehearsal: a protected network under faults, to see what its policy makes of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stoic.campaign.checks import check_name
from stoic.campaign.scores import scores_of
from stoic.criteria import Criterion, Top1Changed
from stoic.faults.space import Fault, fault_space
from stoic.monitors.clamping import clamp_to, golden_ranges
from stoic.monitors.counters import Counters
from stoic.monitors.guarded import Guarded
from stoic.monitors.policies import Alarmed, CallBack, Policy, Raise, ReRun
from stoic.monitors.protected import Protected
from stoic.monitors.verdict import Verdict
from stoic.network.general import held
from stoic.network.subject import Inputs

__all__ = ["POLICIES", "Rehearsal", "Tally", "named_policy", "weight_faults"]

POLICIES = ("keep", "warn", "raise", "retry", "clamp")


@dataclass(frozen=True)
class Tally:
    """What came of the inferences that got one verdict.

    Args:
        verdict: Name of the class.
        inferences: How many.
        unlike: Those of them for which the calibrated alarm was raised.
        failed: Those of which the network's own output is wrong.
        left: Those of which what the policy returned is wrong.
    """

    verdict: str
    inferences: int
    unlike: int
    failed: int
    left: int


def named_policy(
    name: str, guarded: Guarded, clean: Sequence[Inputs], tell: Callable[[str], None]
) -> Policy:
    """Return a policy by its name in `POLICIES`.

    Args:
        name: Of the policy.
        guarded: The network.
        clean: Batches of fault-free inputs, to measure the ranges of ``clamp``.
        tell: Told of alarms, in one line each.

    Raises:
        ValueError: There is none of that name, or nothing to clamp.
    """
    check_name("policy", name, POLICIES)

    def telling(alarmed: Alarmed) -> None:
        tell(alarmed.told())

    if name == "raise":
        return Raise()
    if name == "retry":
        return ReRun(otherwise=CallBack(telling))
    if name == "clamp":
        if not guarded.plan.sites:
            raise ValueError(
                "policy clamp must have watched values to clamp, got a monitor of "
                "checksums only; choose another policy"
            )
        return clamp_to(guarded, golden_ranges(guarded, clean))
    return CallBack(telling if name == "warn" else lambda alarmed: None)


def weight_faults(guarded: Guarded, count: int, *, bits: str, seed: int) -> list[Fault]:
    """Draw faults in the weights of a network, each of one flipped bit.

    Args:
        guarded: The network.
        count: How many.
        bits: As for `fault_space`.
        seed: Of chance.

    Raises:
        ValueError: There is no such bit.
    """
    sites = guarded.plan.subject.sites
    weights = [s for s in sites if s.kind == "parameter" and len(s.shape) > 1]
    space = fault_space(weights, inputs=1, bits=bits, scope="batch")
    chance = random.Random(f"{seed} weights")
    return [space.fault(chance.randrange(space.size)) for _ in range(count)]


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A guarded network, and what is done about alarms.

    Args:
        network: Without the guard; it shares its weights.
        guarded: The same with it.
        policy: What is done about alarms.
        unlike: Whether the calibrated alarm counts as one.
        passing: Whether a fault is gone when the network runs a second time.
        counters: Where verdicts are counted.
        batch: Inputs per run.
        criterion: What counts as a wrong output.
        scores: From the network's output to one row of scores per input.
    """

    network: nn.Module
    guarded: Guarded
    policy: Policy
    unlike: bool = False
    passing: bool = False
    counters: Counters | None = None
    batch: int = 50
    criterion: Criterion = Top1Changed()
    scores: Callable[[Any], Tensor] = scores_of

    @torch.no_grad()
    def tallies(
        self, clean: Inputs, given: Inputs, faults: Sequence[Fault] = ()
    ) -> tuple[Tally, ...]:
        """Run a network on inputs, and say what came of it by verdict.

        Args:
            clean: Inputs; what the network makes of them is right.
            given: The same inputs as the network gets them, perhaps corrupted.
            faults: Each is in the network while one batch runs, and batches go round;
                without any, each batch runs once.

        Raises:
            AlarmError: The policy is to raise.
        """
        starts = range(0, clean.count, self.batch)
        golden = [self._golden(rows) for rows in clean.batches(self.batch)]
        rows = list(given.batches(self.batch))
        runs: list[tuple[int, list[Fault]]] = [
            (number % len(starts), [fault]) for number, fault in enumerate(faults)
        ] or [(number, []) for number in range(len(starts))]
        totals = [Counter[int]() for _ in range(4)]
        for number, own in runs:
            for total, labels in zip(
                totals, self._run(rows[number], golden[number], own), strict=True
            ):
                total.update(labels.tolist())
        return tuple(
            Tally(name, *(total[label] for total in totals))
            for label, name in enumerate(self.guarded.plan.monitor.classes)
        )

    def _golden(self, rows: Inputs) -> Tensor:
        return self.scores(self.network(*rows.args, **rows.kwargs))

    def _run(
        self, rows: Inputs, golden: Tensor, faults: list[Fault]
    ) -> tuple[Tensor, ...]:
        """Return labels of all rows, and of those unlike, failed and left failed."""
        seen: list[tuple[Any, Verdict]] = []
        with ExitStack() as faulty:
            faulty.enter_context(held(self.network, faults))

            def run(*args: Any, **kwargs: Any) -> tuple[Any, Verdict]:
                seen.append(self.guarded(*args, **kwargs))
                if self.passing:
                    faulty.close()
                return seen[-1]

            protected = Protected(
                self.guarded,
                self.policy,
                unlike=self.unlike,
                counters=self.counters,
                run=run,
            )
            output = protected(*rows.args, **rows.kwargs)
        own, verdict = seen[0]
        failed, left = (
            self.criterion.failed(golden, self.scores(each), None)
            for each in (own, output)
        )
        label = verdict.label
        return label, label[verdict.unlike], label[failed], label[left]
