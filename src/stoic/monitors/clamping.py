"""Clamping: running again with watched values kept within their golden range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from stoic.monitors.guarded import Guarded
from stoic.monitors.policies import Alarmed, mixed
from stoic.network.subject import Inputs
from stoic.network.tapped import Tapped, tapped

__all__ = ["Clamp", "Ranges", "clamp_to", "golden_ranges"]

# The least and the largest number of each watched value.
Ranges: TypeAlias = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Clamp:
    """Run again with watched values kept within ranges: a policy, made by `clamp_to`.

    Args:
        network: Whose values are kept so.
    """

    network: Tapped

    def __call__(self, alarmed: Alarmed) -> Any:
        """Return the output with the alarming rows of that run, as `mixed` has them."""
        network = self.network.to(alarmed.rows.device)
        inputs = alarmed.inputs
        output, _ = network(*inputs.args, **inputs.kwargs)
        return mixed(alarmed.output, output, alarmed.rows)


def clamp_to(guarded: Guarded, ranges: Ranges) -> Clamp:
    """Return the policy that keeps watched values of a network within ranges.

    It shares the parameters of the network.

    Args:
        guarded: The network.
        ranges: As `golden_ranges` measures them.

    Raises:
        ValueError: A range is empty, of a value that is not watched, or missing.
    """
    watched = [site.name for site in guarded.plan.sites]
    if set(ranges) != set(watched):
        raise ValueError(
            f"ranges must be given for {', '.join(watched)}, got "
            f"{', '.join(ranges) or 'none'}; measure them with golden_ranges"
        )
    for name, (low, high) in ranges.items():
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"range of {name} must be finite and not empty, got {low} to {high}; "
                "measure it with golden_ranges"
            )
    plan = guarded.plan
    through = {site.value: _Kept(*ranges[site.name]) for site in plan.sites}
    program = plan.subject.program
    network = tapped(program, [], _Nothing(), plan.inputs, through)
    network.graph._parameters.update(guarded.network.graph._parameters)
    return Clamp(network)


@torch.no_grad()
def golden_ranges(guarded: Guarded, batches: Iterable[Inputs]) -> dict[str, Any]:
    """Return the least and the largest number of each watched value.

    Args:
        guarded: The network.
        batches: Fault-free inputs.

    Raises:
        ValueError: There are none, or a value of theirs is not finite.
    """
    plan = guarded.plan
    taps = [(site.value, _Range()) for site in plan.sites]
    network = tapped(plan.subject.program, taps, _Together(), plan.inputs)
    found = [network(*batch.args, **batch.kwargs)[1] for batch in batches]
    if not found:
        raise ValueError("golden ranges need at least one fault-free input, got none")
    low, high = torch.stack(found).unbind(2)
    ends = zip(low.amin(0).tolist(), high.amax(0).tolist(), strict=True)
    ranges = dict(zip((site.name for site in plan.sites), ends, strict=True))
    for name, (least, most) in ranges.items():
        if not math.isfinite(least) or not math.isfinite(most):
            raise ValueError(
                f"{name} must be finite on fault-free inputs, got {least} to {most}; "
                "leave such inputs out"
            )
    return ranges


class _Kept(nn.Module):
    """Keep a value within a range; NaN becomes the lower end."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self._low, self._high = low, high

    def forward(self, value: Tensor) -> Tensor:
        """Return the value within the range, of the same shape."""
        return value.nan_to_num(self._low, self._high, self._low).clamp(
            self._low, self._high
        )


class _Range(nn.Module):
    """The least and the largest number of a whole batch."""

    def forward(self, value: Tensor) -> Tensor:
        """Return both, float64 of shape ``(2,)``; NaN if there is one."""
        return torch.stack([value.amin(), value.amax()]).double()


class _Together(nn.Module):
    """One tensor of what taps return."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Return them as rows."""
        return torch.stack(parts)


class _Nothing(nn.Module):
    """No answer."""

    def forward(self) -> tuple[()]:
        """Return nothing."""
        return ()
