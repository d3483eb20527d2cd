"""Trying a monitor out: faults that it has learnt, and others that it has not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stoic.faults.models import model_name, named_model
from stoic.monitors.collecting import Watched
from stoic.monitors.corruptions import BY_NAME, Pixels
from stoic.monitors.division import Division, Part
from stoic.monitors.kinds import KINDS, LEARNT, check_faults, check_kinds
from stoic.monitors.monitor import Monitor
from stoic.monitors.recipes import (
    Flips,
    Recipe,
    Spoilt,
    flips_of,
    kind_of,
    learnt_flips,
)
from stoic.monitors.strengths import spoilt_of, strengths
from stoic.monitors.traces import MEMORY
from stoic.network.subject import Inputs

__all__ = ["Trying", "check_trying", "learnt_recipe", "searched"]

_FLIP = ("flip",)


@dataclass(frozen=True)
class Trying:
    """What a monitor is tried on, besides all that it has learnt.

    Args:
        kinds: Of corruptions that it has not learnt: of these names only.
        faults: In memory, as `stoic.faults.models.named_model` takes them; each model
            but ``flip`` is a kind of its own.
        shares: Of inputs to fail: corruptions have strengths at which such shares do,
            found by a twentieth of the inputs, in place of those it was fitted with.
    """

    kinds: tuple[str, ...] = KINDS
    faults: tuple[str, ...] = ("flips:2", "burst:4")
    shares: tuple[float, ...] = ()

    def recipe(self, monitor: Monitor, spoilt: tuple[Spoilt, ...]) -> Recipe:
        """Return what is done to each input.

        Args:
            monitor: That is tried.
            spoilt: Corruptions at strengths.
        """
        kinds = self._kinds(monitor)
        chosen = tuple(s for s in spoilt if s.corruption.name in kinds)
        return Recipe(chosen, (*Recipe().flips, *self.flips(monitor)))

    def flips(self, monitor: Monitor) -> tuple[Flips, ...]:
        """Return faults in memory other than single flips, learnt ones first."""
        texts = (*monitor.about.get("faults", _FLIP), *self.faults)
        names = dict.fromkeys(model_name(named_model(text)) for text in texts)
        return tuple(
            flips
            for name in names
            if kind_of(name) != MEMORY
            for flips in flips_of(name, 1, kind_of(name))
        )

    def strengths(
        self,
        monitor: Monitor,
        watched: Watched,
        inputs: Inputs,
        pixels: Pixels,
        seed: int,
    ) -> tuple[Spoilt, ...]:
        """Return corruptions at strengths that are found by some inputs."""
        kinds = [BY_NAME[name] for name in BY_NAME if name in self._kinds(monitor)]
        shares = self.shares
        return strengths(watched, inputs, kinds, pixels, seed=seed, shares=shares)

    def _kinds(self, monitor: Monitor) -> set[str]:
        return {*monitor.about.get("kinds", LEARNT), *self.kinds}


def learnt_recipe(monitor: Monitor) -> Recipe:
    """Return what was done to the inputs that a monitor has learnt from."""
    about = monitor.about
    kinds = about.get("kinds", LEARNT)
    spoilt = tuple(s for s in spoilt_of(about) if s.corruption.name in kinds)
    count = Division(int(about.get("inputs", 0)), 0).learning_count
    return Recipe(spoilt, learnt_flips(kinds, about.get("faults", _FLIP), count))


def check_trying(trying: Trying, monitor: Monitor, count: int) -> None:
    """Refuse what a monitor cannot be tried on.

    Args:
        trying: What is wanted.
        monitor: That is tried.
        count: Of inputs.

    Raises:
        ValueError: Naming the setting.
    """
    check_kinds(trying.kinds)
    check_faults(trying.faults)
    _check_shares(trying.shares)
    if not trying.shares:
        return
    if not spoilt_of(monitor.about):
        raise ValueError(
            "strengths must be left out for a monitor that was fitted without images, "
            f"got {_percent(trying.shares)}; leave them out"
        )
    # Half an input cannot fail.
    nearest = min(min(share, 1 - share) or share for share in trying.shares)
    least = 20 * math.ceil(1 / nearest - 1e-9)
    if count < least:
        raise ValueError(
            f"inputs must be at least {least} where strengths are found by a "
            f"twentieth of them, got {count}; give more, or strengths nearer to 50%"
        )


def _check_shares(shares: Any) -> None:
    todo = "give shares of inputs that fail, such as 25%,75%"
    if isinstance(shares, str) or not isinstance(shares, Sequence):
        raise ValueError(f"strengths must be shares in a tuple, got {shares!r}; {todo}")
    for share in shares:
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 < share <= 1:
            raise ValueError(
                f"strengths must be above 0 and at most 1, got {share!r}; {todo}"
            )
    if len(set(shares)) < len(shares):
        raise ValueError(
            f"strengths must be named once each, got {_percent(shares)}; leave one out"
        )


def _percent(shares: Sequence[float]) -> str:
    return ",".join(f"{share:.4g}" for share in shares)


def searched(
    trying: Trying,
    monitor: Monitor,
    watched: Watched,
    inputs: Inputs,
    seed: int,
    say: Callable[[str], None],
) -> tuple[tuple[Spoilt, ...], Part]:
    """Return corruptions at strengths, and the inputs that did not serve to find them.

    Args:
        trying: What is wanted.
        monitor: That is tried.
        watched: The network.
        inputs: All that there are.
        seed: Of chance.
        say: Told of each strength that was found.
    """
    if not trying.shares:
        return spoilt_of(monitor.about), Part(inputs, 0)
    parts = Division(inputs.count, seed)
    pixels = Pixels.of_record(monitor.about["pixels"])
    own = parts.strengths(inputs).inputs
    found = trying.strengths(monitor, watched, own, pixels, seed)
    for each in found:
        say(each.told)
    return found, parts.after_strengths(inputs)
