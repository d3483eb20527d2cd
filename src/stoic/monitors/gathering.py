"""Gathering: traces to learn from, to choose by and to calibrate with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stoic.monitors.collecting import Watched, check_flips, collected
from stoic.monitors.corruptions import BY_NAME, Pixels, has_flat, is_image, pixels_of
from stoic.monitors.division import Division, Part
from stoic.monitors.fitting import check_clean_finite, unlearnable
from stoic.monitors.kinds import LEARNT
from stoic.monitors.recipes import Recipe, Spoilt, learnt_flips
from stoic.monitors.settings import MonitorSettings
from stoic.monitors.strengths import strengths
from stoic.monitors.traces import MEMORY, Traces
from stoic.network.subject import Inputs

__all__ = ["Gathered", "Progress", "Ticker", "gathered"]

Progress = Callable[[int, int], None]
"""Told how many inputs are done, and of how many."""


# Inputs to learn from of which fewer carry no claim.
_FEW = 50


@dataclass(frozen=True, eq=False)
class Gathered:
    """Traces for each purpose, and the corruptions that were found.

    Args:
        learning: To learn from.
        choosing: To choose features and rounds by.
        calibration: Fault-free ones, for the limits of alarms.
        spoilt: Corruptions, those that are not learnt among them.
        pixels: Range of the inputs, if these are images.
    """

    learning: Traces
    choosing: Traces
    calibration: Traces
    spoilt: tuple[Spoilt, ...]
    pixels: Pixels | None


class Ticker:
    """Progress in inputs.

    Args:
        progress: To be told.
        total: How many there are.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def tick(self, inputs: int) -> None:
        """Say that so many more are done."""
        self._done += inputs
        if self._progress:
            self._progress(self._done, self._total)


def gathered(
    watched: Watched,
    inputs: Inputs,
    chosen: MonitorSettings,
    say: Callable[[str], None],
    progress: Progress | None,
) -> Gathered:
    """Return traces for each purpose; no input serves for two.

    Args:
        watched: The network.
        inputs: Fault-free, in any order.
        chosen: How.
        say: Told what a user should know.
        progress: Told how many inputs are done.

    Raises:
        ValueError: The kinds that are to be learnt cannot be made.
    """
    parts = Division(inputs.count, chosen.seed)
    # Inputs to calibrate with tell nothing of what is learnt, not even their range.
    pixels = _pixels(parts.before_calibration(inputs).inputs, chosen, say)
    flips = learnt_flips(chosen.kinds, chosen.faults, parts.learning_count)
    _say_few(parts, say)
    check_flips(watched, flips)
    spoilt = _spoilt(watched, parts.strengths(inputs).inputs, pixels, chosen)
    for each in spoilt:
        say(each.told)
    known = Recipe(tuple(s for s in spoilt if s.corruption.name in chosen.kinds), flips)
    ticker = Ticker(progress, inputs.count - parts.strengths_count)

    def traces(part: Part, recipe: Recipe) -> Traces:
        found = collected(
            watched,
            part.inputs,
            recipe,
            batch=chosen.batch,
            seed=chosen.seed,
            half=0,
            pixels=pixels,
            first=part.first,
            tick=ticker.tick,
        )
        check_clean_finite(found, parts.order)
        return found

    learning = traces(parts.learning(inputs), known)
    choosing = traces(parts.choosing(inputs), known)
    few = parts.learning_count < _FEW
    seldom = unlearnable(learning, choosing, few=few)
    for kind in seldom:
        why = "has too few failures" if few else "hardly makes the network fail"
        say(f"{kind} {why}: it is left out of the lesson")
    return Gathered(
        learning.rows(~np.isin(learning.origin.kind, seldom)),
        choosing.rows(~np.isin(choosing.origin.kind, seldom)),
        traces(parts.calibration(inputs), Recipe((), ())),
        spoilt,
        pixels,
    )


def _say_few(parts: Division, say: Callable[[str], None]) -> None:
    if parts.learning_count < _FEW:
        say(
            f"{parts.count} inputs are few: this is for trying out, and says nothing "
            "of how well the monitor does"
        )


def _pixels(
    inputs: Inputs, chosen: MonitorSettings, say: Callable[[str], None]
) -> Pixels | None:
    """Return the range of the images among the inputs, if there are any.

    Raises:
        ValueError: There are none, and kinds ask for them.
    """
    wanted = [kind for kind in chosen.kinds if kind != MEMORY]
    image = _image(inputs) if chosen.corruptions else None
    if image is not None:
        return pixels_of(image) if wanted or not has_flat(image) else None
    if wanted and chosen.kinds != LEARNT:
        why = "without images" if chosen.corruptions else "that stay as they are"
        raise ValueError(
            f"kinds must be memory for inputs {why}, got {wanted[0]}; leave it out"
        )
    if wanted and chosen.corruptions:
        say("no input is an image of floats: faults in memory alone are learnt")
    return None


def _image(inputs: Inputs) -> Tensor | None:
    """Return the input that is corrupted: the first image, if its numbers can be."""
    images = (leaf for leaf in inputs.leaves if is_image(leaf))
    first: Tensor | None = next(images, None)
    # A mask of attention may look like an image.
    if first is None or not first.is_floating_point() or bool(first.isinf().any()):
        return None
    return first


def _spoilt(
    watched: Watched,
    inputs: Inputs,
    pixels: Pixels | None,
    chosen: MonitorSettings,
) -> tuple[Spoilt, ...]:
    if pixels is None:
        return ()
    kinds = tuple(BY_NAME.values())
    return strengths(watched, inputs, kinds, pixels, seed=chosen.seed)
