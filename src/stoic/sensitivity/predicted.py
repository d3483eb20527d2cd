"""Predictions: how likely each fault turns each verdict, without injecting any.

What it takes are golden runs, one way backwards for each rival, and the channels that
changed words move. Predictions are guesses, unlike the verdicts that
`stoic.network.certified` proves; a calibration curve says how good they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.criteria import Criterion, Top1Wrong
from stoic.faults.formats import flat_words, format_of
from stoic.faults.models import Corruption
from stoic.faults.space import Block, Fault, FaultSpace
from stoic.network.program import Program
from stoic.network.sites import Site
from stoic.network.subject import Inputs
from stoic.population.fields import changed_words, numbers_of
from stoic.sensitivity.chances import Curve, chances
from stoic.sensitivity.channels import channel_path
from stoic.sensitivity.drifts import Asked, drifts
from stoic.sensitivity.rivals import Rivals, rivals_of

__all__ = ["Cell", "Look", "Prediction", "predicted", "predicted_faults"]

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Look:
    """What is looked at, and how closely.

    Args:
        program: Of a network whose inputs do not depend on each other.
        inputs: On which verdicts are predicted; each is run alone.
        criterion: What counts as a failure.
        labels: Right classes, where the criterion asks for them.
        rivals: Classes whose slopes are had, at most.
        words: Of each tensor that are looked at, evenly spaced by their numbers.
        curve: From drifts to chances.
    """

    program: Program
    inputs: Inputs
    criterion: Criterion
    labels: Tensor | None = None
    rivals: int = 48
    words: int = 64
    curve: Callable[[Tensor], Tensor] = field(default_factory=Curve)


@dataclass(frozen=True)
class Cell:
    """Faults in one bit of a tensor.

    Args:
        site: Name of the tensor.
        bit: Of its words.
        chance: Predicted share of verdicts that turn: its PVF.
        words: That were looked at.
        faults: In the fault space.
    """

    site: str
    bit: int
    chance: float
    words: int
    faults: int


@dataclass(frozen=True)
class Prediction:
    """Predicted vulnerability, cell by cell.

    Args:
        cells: By site and bit.
        passes: Forward passes at batch 32 that slopes cost, one backwards as two.
    """

    cells: tuple[Cell, ...]
    passes: float

    def by_site(self) -> dict[str, float]:
        """Return the predicted PVF of each tensor, over the faults of all its bits."""
        sums: dict[str, list[float]] = {}
        for cell in self.cells:
            own = sums.setdefault(cell.site, [0.0, 0.0])
            own[0] += cell.chance * cell.faults
            own[1] += cell.faults
        return {site: weighed / faults for site, (weighed, faults) in sums.items()}


def predicted(look: Look, space: FaultSpace, tick: Tick | None = None) -> Prediction:
    """Return the predicted PVF of each tensor and bit.

    Args:
        look: What is looked at.
        space: Of faults in single bits of stored values.
        tick: Told how many inputs are done, of how many.

    Raises:
        ValueError: Faults are not of single bits, or not in stored values.
        NoSlopesError: The network has no gradients.
    """
    sites: dict[Site, list[Block]] = {}
    for block in space.by_bit().blocks:
        sites.setdefault(block.site, []).append(block)
    asked = [_spread(look, site, blocks) for site, blocks in sites.items()]
    found, runs = _chances(look, asked, tick)
    cells = [
        Cell(site.name, block.bits[0], float(share), len(own.places), block.size)
        for (site, blocks), own, each in zip(sites.items(), asked, found, strict=True)
        for block, share in zip(blocks, each.mean(axis=(0, 2)), strict=True)
    ]
    cells.sort(key=lambda cell: (cell.site, cell.bit))
    return Prediction(tuple(cells), runs / 32)


def predicted_faults(
    look: Look, faults: Sequence[Fault], tick: Tick | None = None
) -> NDArray[np.float64]:
    """Return how likely each fault turns the verdict on each input.

    Raises:
        ValueError: A fault is not in a stored value.
        NoSlopesError: The network has no gradients.
    """
    sites: dict[Site, list[int]] = {}
    for number, fault in enumerate(faults):
        sites.setdefault(fault.site, []).append(number)
    asked = [
        _asked(
            look,
            site,
            np.array([faults[n].element for n in numbers]),
            [[faults[n].corruption] for n in numbers],
        )
        for site, numbers in sites.items()
    ]
    result = np.zeros((len(faults), look.inputs.count))
    found, _ = _chances(look, asked, tick)
    for numbers, each in zip(sites.values(), found, strict=True):
        result[numbers] = each[:, 0]
    return result


def _spread(look: Look, site: Site, blocks: Sequence[Block]) -> Asked:
    """Ask for words evenly spaced by their numbers, under each fault."""
    numbers = numbers_of(flat_words(_tensor(look, site)), site.dtype)
    count = min(look.words, len(numbers))
    # The middles of equal parts of the order: no end weighs more than it should.
    ranks = ((np.arange(count) + 0.5) * len(numbers) / count).astype(np.int64)
    places = np.argsort(numbers, kind="stable")[ranks]
    each = [block.fault(0).corruption for block in blocks]
    return _asked(look, site, places, [each] * count)


def _asked(
    look: Look,
    site: Site,
    places: NDArray[np.int64],
    corruptions: Sequence[Sequence[Corruption]],
) -> Asked:
    words = flat_words(_tensor(look, site))[places]
    new = np.array(
        [
            [changed_words(word, corruption) for corruption in own]
            for word, own in zip(words, corruptions, strict=True)
        ]
    )
    numbers = numbers_of(new.reshape(-1), site.dtype).reshape(new.shape)
    return Asked(
        site.value,
        torch.from_numpy(places),
        torch.from_numpy(numbers_of(words, site.dtype)),
        torch.from_numpy(numbers),
        channel_path(look.program, site.value),
    )


def _tensor(look: Look, site: Site) -> Tensor:
    found = look.program.stored.get(site.value)
    plain = isinstance(found, Tensor) and found.is_floating_point()
    if not plain or format_of(site.dtype) is None:
        raise ValueError(
            "sites must be floating parameters or buffers for a prediction, "
            f"got {site.kind} {site.name} of {site.dtype}; choose others"
        )
    assert isinstance(found, Tensor)
    return found


def _chances(
    look: Look, asked: Sequence[Asked], tick: Tick | None
) -> tuple[list[NDArray[np.float64]], int]:
    """Return the chances, ``[W, B, inputs]`` of each that is asked for, and runs."""
    rows, runs = look.inputs.count, 0
    found = [np.zeros((*own.new.shape, rows)) for own in asked]
    for row, rivals in enumerate(_rivals(look, asked)):
        runs += 1
        if rivals is not None:
            runs += 2 * len(rivals.leads)
            for own, result in zip(asked, found, strict=True):
                result[:, :, row] = _of(own, rivals, look.curve).numpy()
        if tick:
            tick(row + 1, rows)
    return found, runs


def _of(asked: Asked, rivals: Rivals, curve: Callable[[Tensor], Tensor]) -> Tensor:
    drift = drifts(asked, rivals)
    return chances(drift, rivals.leads, rivals.others, rivals.lost, curve)


def _rivals(look: Look, asked: Sequence[Asked]) -> Iterator[Rivals | None]:
    """Yield the rivals of each input; nothing where no fault can make it a failure."""
    names = {own.reached.value for own in asked if own.reached}
    gather = {own.value: own.places for own in asked if not own.reached}
    for row in range(look.inputs.count):
        own = look.inputs.rows(row, row + 1)
        found = rivals_of(look.program, own, look.criterion, names, look.rivals, gather)
        yield None if _wrong(look, row, own) else found


def _wrong(look: Look, row: int, own: Inputs) -> bool:
    if not isinstance(look.criterion, Top1Wrong) or look.labels is None:
        return False
    with torch.inference_mode():
        values = look.program.run(own.leaves)
    scores = look.program.answer(values.__getitem__)
    return bool(scores.argmax(-1).item() != look.labels[row].item())
