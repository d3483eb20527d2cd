"""From outcomes to the columns of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stoic.campaign.running import Ran
from stoic.campaign.trials import Outcome, Trial

__all__ = ["tables"]


def tables(
    trials: Sequence[Trial], ran: Ran, names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the columns of a shard: trials, faults, outcomes.

    Args:
        trials: Of the shard.
        ran: What came of them.
        names: Columns of the table of outcomes besides trial and input.
    """
    return (
        _trial_columns(trials, ran.outcomes),
        _fault_columns(trials, ran.outcomes),
        _outcome_columns(trials, ran, names),
    )


def _trial_columns(
    trials: Sequence[Trial], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    return {
        "trial": np.array([t.number for t in trials], np.int64),
        "stratum": np.array([t.stratum for t in trials], np.int32),
        "status": np.array([o.status for o in outcomes], object),
        "message": np.array([o.message for o in outcomes], object),
        "exposed": np.array([o.exposed for o in outcomes], np.int32),
        "first": np.array([t.only.start if t.only else -1 for t in trials], np.int64),
        "seconds": np.array([o.seconds for o in outcomes]),
        "exact": np.array([o.exact for o in outcomes], bool),
    }


def _fault_columns(
    trials: Sequence[Trial], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    pairs = zip(trials, outcomes, strict=True)
    rows = [
        (trial.number, fault, words)
        for trial, outcome in pairs
        for fault, words in zip(trial.faults, outcome.words, strict=True)
    ]
    inputs = [-1 if fault.input is None else fault.input for _, fault, _ in rows]
    return {
        "trial": np.array([number for number, _, _ in rows], np.int64),
        "site": np.array([fault.site.name for _, fault, _ in rows], object),
        "element": np.array([fault.element for _, fault, _ in rows], np.int64),
        "input": np.array(inputs, np.int64),
        "bit": np.array([fault.corruption.bit for _, fault, _ in rows], np.int16),
        "old": np.array([words[0] for _, _, words in rows], np.uint64),
        "new": np.array([words[1] for _, _, words in rows], np.uint64),
    }


def _outcome_columns(
    trials: Sequence[Trial], ran: Ran, names: Sequence[str]
) -> dict[str, Any]:
    """Return the facts of the trials that are done, in order of trial and input."""
    numbers = np.array([trial.number for trial in trials], np.int64)
    done = np.array([outcome.status == "done" for outcome in ran.outcomes], bool)
    trial = _joined([block.trial for block in ran.blocks], np.int64)
    input = _joined([block.input for block in ran.blocks], np.int64)
    order = np.lexsort((input, trial))
    order = order[done[trial[order]]]
    joined: dict[str, Any] = {"trial": numbers[trial[order]], "input": input[order]}
    for name in names:
        column = _joined([block.columns[name] for block in ran.blocks], None)
        joined[name] = column[order]
    return joined


def _joined(parts: list[Any], dtype: Any) -> Any:
    if not parts:
        return np.zeros(0, dtype or np.float32)
    whole: Any = np.ma.concatenate if np.ma.isMA(parts[0]) else np.concatenate
    return whole(parts)
