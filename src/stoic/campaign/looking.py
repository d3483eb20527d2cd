"""Looking before a campaign: its population, with what slopes and proofs say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stoic.campaign.leads import lead_of
from stoic.campaign.scores import scores_of
from stoic.campaign.trials import Bay
from stoic.criteria import Top1Changed
from stoic.faults.space import Block, FaultSpace
from stoic.network.captured import CapturedSubject
from stoic.network.sites import Site
from stoic.population.cells import Population, population_of
from stoic.population.fields import Verdicts
from stoic.population.making import Look, fields_of
from stoic.population.proofs import proofs_of

__all__ = ["cell_columns", "cells_fingerprint", "looked_at"]


def looked_at(
    bay: Bay, space: FaultSpace, tick: Callable[[str], None] | None = None
) -> Population:
    """Return the units of a fault space, told apart as far as that can be done.

    Args:
        bay: What trials will run on; a batch is what a trial sees.
        space: All faults.
        tick: Told what is being looked at.

    Raises:
        ValueError: The inputs do not make whole batches.
    """
    if bay.inputs.count % bay.batch:
        raise ValueError(
            f"inputs per fault must divide the {bay.inputs.count} inputs, so that each "
            f"is as likely as the others, got {bay.batch}; choose a divisor"
        )
    lead = lead_of(bay.judge.criterion)
    look = Look(bay.subject, bay.inputs, lead, bay.batch, _proofs(bay, space), tick)
    fields = {} if bay.judge.tail is not None else fields_of(look, space)
    return population_of(_alone(space), fields, look.rows, tick)


def _proofs(bay: Bay, space: FaultSpace) -> dict[str, Verdicts]:
    """Return what is proved of stored words, by site."""
    judge, subject = bay.judge, bay.subject
    if judge.tail is not None or not isinstance(subject, CapturedSubject):
        return {}
    program = subject.program
    every = {block.site.name: block.site for block in space.blocks}.values()
    sites = [s for s in every if s.value in program.stored and _is_plain(s)]

    def clearance(output: Any, start: int) -> tuple[Any, Tensor]:
        scores = scores_of(output)
        labels = bay.batch_labels(start)
        return scores, judge.criterion.clearance(scores, scores, labels)

    closed = isinstance(judge.criterion, Top1Changed)
    found = proofs_of(program, bay.inputs, sites, bay.batch, clearance, closed=closed)
    if found is None:
        return {}
    proved = {site.name: found.of(site) for site in sites}
    return {name: verdicts for name, verdicts in proved.items() if verdicts}


def _is_plain(site: Site) -> bool:
    return site.dtype in (torch.float32, torch.float64)


def _alone(space: FaultSpace) -> tuple[Block, ...]:
    """Return blocks of one corruption each, where bits are hit one by one."""
    try:
        return space.by_bit().blocks
    except ValueError:
        return space.blocks


def cell_columns(population: Population) -> dict[str, Any]:
    """Return the table of cells."""
    cells = population.cells
    return {
        "cell": np.arange(len(cells), dtype=np.int32),
        "bin": np.array([c.bin for c in cells], object),
        "site": np.array([c.block.site.name for c in cells], object),
        "bit": np.array([c.bit for c in cells], np.int16),
        "units": np.array([c.units for c in cells], np.int64),
        "known": np.array([c.known for c in cells], np.int64),
        "failed": np.array([c.failed for c in cells], np.int64),
        "hint": np.array([c.hint for c in cells], np.float64),
    }


def cells_fingerprint(population: Population) -> str:
    """Return a fingerprint of the table of cells: trials are drawn from it."""
    digest = hashlib.sha256()
    for name, column in cell_columns(population).items():
        digest.update(f"{name} {column.tolist()}".encode())
    return digest.hexdigest()
