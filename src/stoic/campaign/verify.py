"""Verification: trials of a run once more, naively, in a copy of the network."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stoic import records
from stoic.campaign.campaign import Campaign
from stoic.campaign.running import Ran, run_trials
from stoic.campaign.trials import Trial
from stoic.network.naive import NaiveSubject

__all__ = ["VerifyError", "verify_run"]


class VerifyError(RuntimeError):
    """A recorded trial does not come out as a naive run of it does."""


def verify_run(
    campaign: Campaign,
    network: nn.Module,
    path: Path,
    count: int,
    tick: Callable[[int], None] | None = None,
) -> int:
    """Run some recorded trials naively and compare what came of them.

    In exact mode every recorded fact must be the same; in fast mode every verdict and
    every count of non-finite values.

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
    trials = _some(list(campaign.trials()), count, campaign.seed)
    bay = replace(
        campaign.bay, subject=NaiveSubject(network, campaign.bay.subject), fast=False
    )
    ran = run_trials(bay, trials, tick=tick)
    naive, recorded = _by_trial(ran), _recorded(path, trials)
    for place, trial in enumerate(trials):
        mine = (ran.outcomes[place].status, naive[place])
        _compare(trial, mine, recorded[trial.number], exact=not campaign.bay.fast)
    return len(trials)


def _some(trials: list[Trial], count: int, seed: int) -> list[Trial]:
    chance = random.Random(f"verify {seed}")
    chosen = chance.sample(range(len(trials)), min(count, len(trials)))
    return [trials[number] for number in sorted(chosen)]


_Rows = tuple[str, dict[int, tuple[Any, ...]]]


def _recorded(path: Path, trials: list[Trial]) -> dict[int, _Rows]:
    """Return the status and the facts by input of some trials of a run."""
    numbers = ", ".join(str(trial.number) for trial in trials)
    with records.open_run(path).connection() as connection:
        statuses = connection.execute(
            f"SELECT trial, status FROM trials WHERE trial IN ({numbers})"
        ).fetchall()
        rows = connection.execute(
            "SELECT trial, input, failed, nonfinite, deviation, "
            f"* EXCLUDE (trial, input, failed, nonfinite, deviation, differs) "
            f"FROM outcomes WHERE trial IN ({numbers})"
        ).fetchall()
    found: dict[int, _Rows] = {trial: (status, {}) for trial, status in statuses}
    for trial, input, *facts in rows:
        found[trial][1][input] = tuple(facts)
    return found


def _compare(trial: Trial, naive: _Rows, recorded: _Rows, *, exact: bool) -> None:
    kept = None if exact else 2
    same = naive[0] == recorded[0]
    if naive[0] == "done":
        for input in naive[1].keys() | recorded[1].keys():
            same &= _alike(recorded[1].get(input), naive[1].get(input), kept)
    if not same:
        fault = trial.faults[0]
        raise VerifyError(
            f"trial {trial.number} ({fault.site.name}[{fault.element}] "
            f"{fault.corruption}) must come out as a naive run does, got {recorded[0]} "
            f"with {_failures(recorded[1])} failed inputs against {naive[0]} with "
            f"{_failures(naive[1])}; report this with the run folder"
        )


def _by_trial(ran: Ran) -> dict[int, dict[int, tuple[Any, ...]]]:
    """Return the facts of every trial by input."""
    found: dict[int, dict[int, tuple[Any, ...]]] = {
        place: {} for place in range(len(ran.outcomes))
    }
    for block in ran.blocks:
        columns = [c for name, c in block.columns.items() if name != "differs"]
        pairs = zip(block.trial.tolist(), block.input.tolist(), strict=True)
        for row, (trial, input) in enumerate(pairs):
            found[trial][input] = tuple(column[row].item() for column in columns)
    return found


def _alike(
    a: tuple[Any, ...] | None, b: tuple[Any, ...] | None, kept: int | None
) -> bool:
    """Compare facts; in fast mode a missing row is one that did not fail."""
    if kept is None:
        return a is not None and b is not None and _same(a, b)
    return (a or (False, 0))[:kept] == (b or (False, 0))[:kept]


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return np.array_equal(np.array(a, float), np.array(b, float), equal_nan=True)


def _failures(rows: dict[int, tuple[Any, ...]]) -> int:
    return sum(bool(facts[0]) for facts in rows.values())
