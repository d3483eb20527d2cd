"""Trials on one small batch each, run together in fast mode with those on others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stoic.campaign.jury import Block, Jury
from stoic.campaign.trials import Bay, Outcome, shared_time
from stoic.faults.space import Fault
from stoic.network.captured import gathering, start_of
from stoic.network.gathered import LARGE, MASKED, Start
from stoic.network.subject import Answer, Bench, Group

__all__ = ["Place", "run_together"]


@dataclass(frozen=True)
class Place:
    """A batch with the trials that run on it and on no other.

    Args:
        start: First input of the batch.
        bench: Its golden run.
        faults: Of each trial, with rows of the batch for inputs.
    """

    start: int
    bench: Bench
    faults: Mapping[int, Sequence[Fault]]


def run_together(
    bay: Bay,
    places: Sequence[Place],
    outcomes: Sequence[Outcome],
    blocks: list[Block],
    tick: Callable[[int], None] | None,
) -> tuple[set[int], set[int]]:
    """Run trials on several batches at once, those that can be.

    Args:
        bay: What they are run on.
        places: The batches.
        outcomes: Of all trials: what they took is added.
        blocks: Where facts are added.
        tick: Told how many trials have been run.

    Returns:
        The trials that are settled, and those that need an exact run.
    """
    jury = Jury(bay, [p.bench for p in places], [p.start for p in places], blocks)
    found = None if bay.judge.opaque else gathering([place.bench for place in places])
    settled, unsure = set[int](), set[int]()
    if found is None:
        return settled, unsure
    trials, starts = [], []
    for i, number, start in _started(places, outcomes):
        if start is MASKED:
            settled.add(i)
        elif start is LARGE:
            unsure.add(i)
        elif start is not None:
            trials.append(i)
            starts.append((number, start))
    if tick:
        tick(len(settled) + len(unsure))
    for group in found.groups(starts):
        members = [trials[place] for place in group.places]
        with shared_time([outcomes[i] for i in members]):
            answer = _answer(group, bay.limit_s)
            if answer is None:
                continue
            again = {members[place] for place in jury.judge(members, answer)}
        for i in set(members) - again:
            outcomes[i].exact &= answer.exact
        settled |= set(members) - again
        unsure |= again
        if tick:
            tick(len(members))
    return settled, unsure


def _started(
    places: Sequence[Place], outcomes: Sequence[Outcome]
) -> Iterator[tuple[int, int, Start | None]]:
    """Yield trials, the numbers of their batches, and where groups take them up."""
    for number, place in enumerate(places):
        for i, faults in place.faults.items():
            with shared_time([outcomes[i]]):
                start = start_of(place.bench, faults)
            yield i, number, start


def _answer(group: Group, limit_s: float) -> Answer | None:
    """Run a group; nothing where it must be left to the runs of its trials alone."""
    try:
        return group.run(time.monotonic() + limit_s * len(group.places))
    except Exception:
        # Nobody knows which of them it was, and there may just be too many.
        return None
