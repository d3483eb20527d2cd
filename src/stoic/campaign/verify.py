"""Verification: trials of a run once more, naively, in a copy of the network."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stoic import records
from stoic.campaign.adaptive import AdaptiveCampaign
from stoic.campaign.campaign import Campaign
from stoic.campaign.record import shares_in
from stoic.campaign.running import Ran, run_trials
from stoic.campaign.trials import Bay, Trial
from stoic.network.naive import NaiveSubject

__all__ = ["VerifyError", "verify_run"]

# What a row says that did not fail: no value turned non-finite, nowhere.
_FINE = (False, 0, -1)


class VerifyError(RuntimeError):
    """A recorded trial does not come out as a naive run of it does."""


def verify_run(
    campaign: Campaign | AdaptiveCampaign,
    network: nn.Module,
    path: Path,
    count: int,
    tick: Callable[[int], None] | None = None,
) -> int:
    """Run some recorded trials naively and compare what came of them.

    In exact mode every recorded fact must be the same; in fast mode every fault, every
    verdict, and how many values turned non-finite and where. Of an adaptive campaign as
    many proofs are checked as well.

    Args:
        campaign: That made the run.
        network: That it is about.
        path: The run folder.
        count: How many trials, drawn by the campaign's seed.
        tick: Told how many runs of a trial on a batch have been done.

    Returns:
        How many trials were compared.

    Raises:
        VerifyError: Naming the first trial that differs, and how.
    """
    if not count:
        return 0
    if isinstance(campaign, Campaign):
        every = campaign.trials()
    else:
        every = campaign.trials(shares_in(path))
    trials = _some(list(every), count, campaign.seed)
    bay = replace(
        campaign.bay, subject=NaiveSubject(network, campaign.bay.subject), fast=False
    )
    if isinstance(campaign, AdaptiveCampaign):
        _verify_proofs(campaign, bay, count)
    ran = run_trials(bay, trials, tick=tick)
    recorded = _recorded(path, trials)
    for trial, naive in zip(trials, _naive(trials, ran), strict=True):
        _compare(trial, naive, recorded.get(trial.number), exact=not campaign.bay.fast)
    return len(trials)


def _verify_proofs(campaign: AdaptiveCampaign, bay: Bay, count: int) -> None:
    """Run units naively whose verdict is proved, and fail on a contradiction."""
    proved = campaign.population.proved(count, campaign.seed)
    trials = [
        campaign.trial(number, 0, unit) for number, (unit, _) in enumerate(proved)
    ]
    ran = run_trials(bay, trials)
    failed = np.zeros(len(trials))
    for block in ran.blocks:
        np.add.at(failed, block.trial, block.columns["failed"])
    found = zip(proved, ran.outcomes, failed.tolist(), strict=True)
    for (unit, fails), outcome, seen in found:
        if outcome.status != "done" or seen != fails * outcome.exposed:
            fault = unit.fault
            raise VerifyError(
                f"{fault.site.name}[{fault.element}] bit {fault.corruption.bit} must "
                f"{'fail' if fails else 'hold'} on block {unit.row} of inputs, as is "
                f"proved, got {outcome.status} with {seen:g} of {outcome.exposed} "
                "inputs failed; report this with the network"
            )


def _some(trials: list[Trial], count: int, seed: int) -> list[Trial]:
    chance = random.Random(f"verify {seed}")
    chosen = chance.sample(range(len(trials)), min(count, len(trials)))
    return [trials[number] for number in sorted(chosen)]


@dataclass(frozen=True)
class _Seen:
    """What is known of a trial.

    Args:
        faults: Site, element, input, bit and both words of each.
        rows: Facts by input.
    """

    status: str
    exposed: int
    faults: list[tuple[Any, ...]] = field(default_factory=list)
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        failed = sum(bool(facts[0]) for facts in self.rows.values())
        return f"{self.status} with {failed} of {self.exposed} inputs failed"


def _recorded(path: Path, trials: list[Trial]) -> dict[int, _Seen]:
    """Return what a run folder says of some trials."""
    numbers = ", ".join(str(trial.number) for trial in trials)
    with records.open_run(path).connection() as connection:

        def rows(columns: str, table: str) -> list[tuple[Any, ...]]:
            query = f"SELECT trial, {columns} FROM {table} WHERE trial IN ({numbers})"
            return connection.execute(query).fetchall()

        found = {
            trial: _Seen(status, exposed)
            for trial, status, exposed in rows("status, exposed", "trials")
        }
        for trial, *fault in rows("site, element, input, bit, old, new", "faults"):
            found[trial].faults.append(tuple(fault))
        first = "input, failed, nonfinite, nonfinite_at"
        facts = f"{first}, * EXCLUDE (trial, differs, {first})"
        for trial, input, *own in rows(facts, "outcomes"):
            found[trial].rows[input] = tuple(own)
    return found


def _naive(trials: list[Trial], ran: Ran) -> list[_Seen]:
    """Return the same of trials that were just run."""
    found = []
    for trial, outcome in zip(trials, ran.outcomes, strict=True):
        faults = [
            (
                fault.site.name,
                fault.element,
                -1 if fault.input is None else fault.input,
                fault.corruption.bit,
                *words,
            )
            for fault, words in zip(trial.faults, outcome.words, strict=True)
        ]
        found.append(_Seen(outcome.status, outcome.exposed, faults))
    for block in ran.blocks:
        columns = [c for name, c in block.columns.items() if name != "differs"]
        pairs = zip(block.trial.tolist(), block.input.tolist(), strict=True)
        for row, (place, input) in enumerate(pairs):
            found[place].rows[input] = tuple(column[row].item() for column in columns)
    return found


def _compare(
    trial: Trial, naive: _Seen, recorded: _Seen | None, *, exact: bool
) -> None:
    if recorded is None:
        raise VerifyError(f"trial {trial.number} must be in the run folder, got none")
    if sorted(naive.faults) != sorted(recorded.faults):
        raise VerifyError(
            f"faults of trial {trial.number} must be the ones that were drawn, "
            f"{naive.faults[:3]}, got {recorded.faults[:3]}"
        )
    # A trial that ran out of time has no facts; a naive run knows no time limit.
    if recorded.status == "unknown":
        return
    if not _agree(naive, recorded, kept=None if exact else 3):
        where = [
            f"{site}[{element}] bit {bit}" for site, element, _, bit, *_ in naive.faults
        ]
        raise VerifyError(
            f"trial {trial.number} ({', '.join(where[:3])}) must come out as a naive "
            f"run does, {naive}, got {recorded}; report this with the run folder"
        )


def _agree(naive: _Seen, recorded: _Seen, kept: int | None) -> bool:
    same = (naive.status, naive.exposed) == (recorded.status, recorded.exposed)
    if naive.status != "done":
        return same and not recorded.rows
    return same and all(
        _alike(recorded.rows.get(input), naive.rows.get(input), kept)
        for input in naive.rows.keys() | recorded.rows.keys()
    )


def _alike(
    a: tuple[Any, ...] | None, b: tuple[Any, ...] | None, kept: int | None
) -> bool:
    """Compare facts; in fast mode a missing row is one that did not fail."""
    if kept is None:
        return a is not None and b is not None and _same(a, b)
    return (a or _FINE)[:kept] == (b or _FINE)[:kept]


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return np.array_equal(np.array(a, float), np.array(b, float), equal_nan=True)
