"""From a network and its inputs to predicted vulnerability, and the joint table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stoic.campaign.checks import (
    check_count,
    check_inputs,
    check_network,
    check_processor,
)
from stoic.campaign.facts import Judge
from stoic.campaign.fingerprint import network_fingerprint
from stoic.campaign.leads import lead_of
from stoic.campaign.looking import looked_at
from stoic.campaign.trials import Bay
from stoic.campaign.untouched import untouched
from stoic.criteria import Criterion, named_criterion
from stoic.estimates.tables import pvf
from stoic.faults.selection import chosen_sites
from stoic.faults.space import FaultSpace, fault_space
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.slopes import NoSlopesError, parameter_slopes, program_of
from stoic.network.subject import Inputs, Subject
from stoic.records import Run, open_run
from stoic.sensitivity.answers import finite
from stoic.sensitivity.calibration import calibration, is_of
from stoic.sensitivity.chances import Reliability
from stoic.sensitivity.hessian import hessian_traces
from stoic.sensitivity.joint import Joint, joint_table
from stoic.sensitivity.judged import check_finite
from stoic.sensitivity.predicted import Look, Prediction, predicted
from stoic.study import as_inputs

__all__ = ["CellRow", "PredictSettings", "Predicted", "predict"]

Key = tuple[str, int]


@dataclass(frozen=True)
class PredictSettings:
    """What is predicted, and how closely it is looked at.

    Args:
        sites: Globs over the names of tensors, comma-separated.
        exclude: Globs of tensors to leave out.
        bits: Numbers, ranges and roles of bits, comma-separated.
        criterion: What counts as a failure.
        rivals: Classes whose slopes are had, at most.
        words: Of each tensor that are looked at.
        probes: Of the Hessian's trace; 0 for none.
        proofs: Whether to say what share of each cell is proved.
    """

    sites: str = "*"
    exclude: str = ""
    bits: str = "all"
    criterion: Criterion | str = "top1-changed"
    rivals: int = 48
    words: int = 64
    probes: int = 8
    proofs: bool = False

    def __post_init__(self) -> None:
        check_count("rivals", self.rivals, 1, "choose as many as classes, or fewer")
        check_count("words", self.words, 1, "choose one such as 64")
        check_count("probes", self.probes, 0, "0 leaves the Hessian's trace out")


@dataclass(frozen=True)
class CellRow:
    """Faults in one bit of a tensor.

    Args:
        site: Name of the tensor.
        bit: Of its words.
        predicted: Guess of its PVF.
        measured: Estimate of a run, where one was given and has tried it.
        low: Lower 95 % limit of that.
        high: Upper one.
        trials: Faults tried.
        holds: Share of faults on inputs that are proved to turn no verdict.
        fails: The same, proved to turn one.
    """

    site: str
    bit: int
    predicted: float
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    trials: int = 0
    holds: float | None = None
    fails: float | None = None


@dataclass(frozen=True)
class Predicted:
    """What was predicted.

    Args:
        rows: By tensor and bit.
        joint: Tensors under every number there is of them.
        passes: Forward passes at batch 32 that slopes cost, one backwards as two.
        inputs: On which verdicts are predicted.
        calibration: How often single verdicts turned, by the chance predicted; empty
            without a run on these very inputs.
    """

    rows: tuple[CellRow, ...]
    joint: Joint
    passes: float
    inputs: int
    calibration: tuple[Reliability, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return all of it as plain data; what is infinite or none as nothing."""
        columns = {
            name: [finite(each) for each in column]
            for name, column in self.joint.columns.items()
        }
        agreements = [
            {k: finite(v) if isinstance(v, float) else v for k, v in vars(a).items()}
            for a in self.joint.agreements()
        ]
        return {
            "inputs": self.inputs,
            "passes": self.passes,
            "cells": [asdict(row) for row in self.rows],
            "layers": list(self.joint.layers),
            "columns": columns,
            "agreements": agreements,
            "calibration": [asdict(point) for point in self.calibration],
        }


def predict(
    network: nn.Module,
    inputs: Any,
    labels: Tensor | None = None,
    *,
    settings: PredictSettings | None = None,
    measured: Path | str | None = None,
    columns: Mapping[str, Mapping[str, float]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predicted:
    """Predict the vulnerability of each tensor and bit without injecting a fault.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: A tensor, a tuple or a dictionary of them; each has a row per input.
        labels: The right class of each input, where the criterion asks for it.
        settings: What is predicted.
        measured: A run folder, whose estimates stand beside the predictions.
        columns: Further numbers of tensors for the joint table, by what they say: a
            norm profile, a monitor's importances.
        progress: Told how many inputs are done.

    Raises:
        ValueError: The input is bad; one line says what, why and what to do.
    """
    chosen = settings or PredictSettings()
    given, criterion = as_inputs(inputs), chosen.criterion
    if isinstance(criterion, str):
        criterion = named_criterion(criterion)
    check_network(network)
    check_inputs(given, labels, criterion)
    check_processor(network, given)
    run = _run_of(measured, network, criterion) if measured else None
    with untouched(network):
        subject = prepare(network, given)
        sites = chosen_sites(
            subject.sites, include=chosen.sites, exclude=chosen.exclude
        )
        space = fault_space(sites, bits=chosen.bits, inputs=given.count)
        with _else_measured():
            check_finite(program_of(subject), given)
            look = Look(
                *(program_of(subject), given, criterion, labels),
                rivals=chosen.rivals,
                words=chosen.words,
            )
            found = predicted(look, space, progress)
        proved = _proved(subject, look, space) if chosen.proofs else {}
        numbers = _by_tensor(look, space, found, chosen.probes)
        points = _calibration(look, space, run) if run else ()
    if run is not None:
        numbers["measured PVF"] = {
            str(row.key[0]): row.estimate.value for row in pvf(run, "site")
        }
    order = tuple(block.site.name for block in space.blocks)
    joint = joint_table(numbers | dict(columns or {}), order)
    rows = _rows(found, run, proved)
    return Predicted(rows, joint, found.passes, given.count, points)


def _run_of(folder: Path | str, network: nn.Module, criterion: Criterion) -> Run:
    """Return a run of this network, with verdicts of the same kind."""
    run = open_run(folder)
    if run.manifest.network.fingerprint != network_fingerprint(network):
        raise ValueError(
            "measured must be a run of this network, got one of "
            f"{run.manifest.network.name} with other words; give another folder"
        )
    if run.manifest.criterion != criterion.as_record():
        raise ValueError(
            "criterion must be that of the run that was measured, "
            f"{run.manifest.criterion['name']}, got {criterion.as_record()['name']}; "
            "ask for the same with the same limits, or give another folder"
        )
    return run


def _calibration(look: Look, space: FaultSpace, run: Run) -> tuple[Reliability, ...]:
    """Return the calibration curve, where the run was on these very inputs."""
    if not is_of(run, look.inputs, look.labels):
        return ()
    return calibration(look, [block.site for block in space.blocks], run)


@contextmanager
def _else_measured() -> Iterator[None]:
    """Say what to do where there are no slopes."""
    try:
        yield
    except NoSlopesError as error:
        told = f"{error}; faults are measured without any: 'stoic pvf'"
        raise NoSlopesError(told) from error


def _rows(
    found: Prediction, run: Run | None, proved: Mapping[Key, tuple[float, float]]
) -> tuple[CellRow, ...]:
    estimates: dict[Key, tuple[float, float, float, int]] = {}
    for row in pvf(run, ("site", "bit")) if run is not None else ():
        site, bit = row.key
        own = row.estimate
        estimates[str(site), int(bit)] = own.value, own.low, own.high, row.trials
    return tuple(
        CellRow(
            *(cell.site, cell.bit, cell.chance),
            *estimates.get((cell.site, cell.bit), (None, None, None, 0)),
            *proved.get((cell.site, cell.bit), (None, None)),
        )
        for cell in found.cells
    )


def _proved(
    subject: Subject, look: Look, space: FaultSpace
) -> dict[Key, tuple[float, float]]:
    """Return the shares of each cell that are proved to hold, and to fail."""
    bay = Bay(subject, look.inputs, look.labels, 1, Judge(look.criterion), False, 60.0)
    counts: dict[Key, list[int]] = {}
    for cell in looked_at(bay, space).cells:
        own = counts.setdefault((cell.block.site.name, cell.bit), [0, 0, 0])
        own[0] += cell.units + cell.known
        own[1] += cell.known - cell.failed
        own[2] += cell.failed
    return {key: (own[1] / own[0], own[2] / own[0]) for key, own in counts.items()}


def _by_tensor(
    look: Look, space: FaultSpace, found: Prediction, probes: int
) -> dict[str, dict[str, float]]:
    """Return the numbers of tensors that golden runs and slopes give."""
    sites = [block.site for block in space.blocks]
    names = [site.value for site in sites]
    lead = lead_of(look.criterion)
    with _else_measured():
        slopes = parameter_slopes(look.program, look.inputs, lead, names)
    numbers = {
        "predicted PVF": found.by_site(),
        "gradient score": {s.name: _score(look, s, slopes[s.value]) for s in sites},
    }
    if probes:
        some = _first(look.inputs)
        labels = None if look.labels is None else look.labels[: some.count]
        traces = hessian_traces(look.program, some, labels, names, probes)
        numbers["Hessian trace"] = {s.name: traces[s.value].value for s in sites}
    return numbers


def _score(look: Look, site: Site, slopes: Tensor) -> float:
    """Return the mean slope of the lead per relative change of a word."""
    words = look.program.stored[site.value].detach()
    return float((slopes * words.abs()).mean())


def _first(inputs: Inputs, most: int = 32) -> Inputs:
    return inputs.rows(0, min(inputs.count, most))
