"""What bounds and derivatives claim of growth, for `benchmarks.tightness`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from benchmarks.perturbed import Perturbed
from torch import Tensor

from stoic.sensitivity.condition import condition
from stoic.sensitivity.local import average, frobenius, largest
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.tightness import Claim, Label

__all__ = ["BOUNDS", "CLAIMS", "Claims", "local_claims"]

BOUNDS = ("product", "interval", "linearised", "certified")
"""Names of guarantees."""

Claims: TypeAlias = Callable[[Perturbed, Tensor, float, float], list[Claim]]
"""From a network, some inputs, a radius and its norm to what is claimed of growth."""


def local_claims(
    subject: Perturbed, x: Tensor, radius: float, norm: float
) -> list[Claim]:
    """Claim what the derivative at the image itself says."""
    scale = subject.scale(x)
    stretch = largest(subject.f, x, steps=20).value
    mean = average(frobenius(subject.f, x, probes=16).value, x)
    return [
        Claim("local", "local", stretch * scale),
        Claim("average", "average", mean * scale),
    ]


def _bounds(subject: Perturbed, x: Tensor, radius: float, norm: float) -> list[Claim]:
    """Claim what holds for every perturbation of that size."""
    what = Perturbation(radius=radius, norm=norm)
    found = condition(subject.program, [x], subject.scores, what, subject.store)

    def claims(names: Sequence[str], label: Label) -> list[Claim]:
        own = {name: found.number(getattr(found, name), radius) for name in names}
        return [Claim(name, label, values) for name, values in own.items()]

    # Where scores are too many to be followed back, products with vectors must do.
    known = bool(found.local.isfinite().all())
    local = claims(["local"], "local") + claims(["average"], "average")
    return claims(BOUNDS, "guarantee") + (
        local if known else local_claims(subject, x, radius, norm)
    )


CLAIMS: Mapping[str, Claims] = {"bounds": _bounds, "local": local_claims}
"""What is held against the measured growth; bounds say what is local, too."""
