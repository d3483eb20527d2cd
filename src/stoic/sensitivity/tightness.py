"""Tightness: estimates of growth beside growth that was measured, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from stoic.sensitivity.growth import Growth

__all__ = ["LEVELS", "Claim", "Gap", "Label", "Tightness", "tightness"]

Label: TypeAlias = Literal["guarantee", "local", "average"]
"""What a number is good for.

A guarantee holds for every perturbation of the set. A local number is about the
derivative at the input alone, an average about a random direction; neither proves
anything.
"""

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles over images that are told."""

# Measuring rounds, and so does what is measured against: less is no violation.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Claim:
    """What somebody says about the growth of each image.

    Args:
        name: What figures call it.
        label: What it is good for.
        values: Of each image, in the unit of what is measured.

    Raises:
        ValueError: There is no such label.
    """

    name: str
    label: Label
    values: Tensor

    def __post_init__(self) -> None:
        if self.label not in get_args(Label):
            raise ValueError(
                f"label must be one of {', '.join(get_args(Label))}, got "
                f"{self.label!r}; what holds for everything is a guarantee"
            )


@dataclass(frozen=True)
class Gap:
    """How far a claim lies from the strongest growth that was measured.

    Args:
        name: Of the claim.
        label: Of the claim.
        quantiles: Of log10(claim / strongest) over images, at `LEVELS`; None where no
            image has one.
        images: That have a ratio.
        undefined: That have none: one of both is zero, infinite or not a number.
        violations: Images of a guarantee whose measured growth is above it. There must
            not be any.
    """

    name: str
    label: Label
    quantiles: tuple[float, ...] | None
    images: int
    undefined: int
    violations: tuple[int, ...]

    @property
    def median(self) -> float | None:
        """The middle one, in powers of ten."""
        return None if self.quantiles is None else self.quantiles[LEVELS.index(0.5)]


@dataclass(frozen=True, eq=False)
class Tightness:
    """Claims and measurements of the same images, at one radius.

    Args:
        radius: Relative to each input's 2-norm.
        norm: Of the perturbations: 2, or infinity.
        measured: Growth of each image, by attack.
        claims: In the order given.
    """

    radius: float
    norm: float
    measured: Mapping[str, Tensor]
    claims: tuple[Claim, ...]

    @property
    def strongest(self) -> Tensor:
        """The largest growth that any attack reached, [images]."""
        # A growth that is not defined is none.
        grown = torch.stack([each.nan_to_num(-1.0) for each in self.measured.values()])
        most = grown.amax(0)
        return torch.where(most < 0, torch.nan, most)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The distance of each claim from the strongest growth."""
        return tuple(_gap(claim, self.strongest) for claim in self.claims)

    def as_record(self) -> dict[str, Any]:
        """Return plain data, as the report takes it."""
        return {
            "radius": self.radius,
            "norm": "inf" if self.norm != 2 else "2",
            "images": len(self.strongest),
            "measured": {k: _plain(v) for k, v in self.measured.items()},
            "claims": [
                {"name": c.name, "label": c.label, "values": _plain(c.values)}
                for c in self.claims
            ],
            "gaps": [asdict(gap) for gap in self.gaps],
        }


def tightness(
    growth: Sequence[Growth], claims: Sequence[Claim], relative: bool = True
) -> Tightness:
    """Place claims beside the growth at one radius.

    Args:
        growth: Of several attacks, on the same images at one radius and norm.
        claims: In the same unit, on the same images.
        relative: Whether the unit is change per radius both relative, as of condition
            numbers, or change per size of what is allowed.

    Raises:
        ValueError: There is no growth, it is of several radii or norms, or a claim is
            about another number of images.
    """
    places = {(each.radius, each.norm) for each in growth}
    if len(places) != 1:
        raise ValueError(
            f"growth must be of one radius and norm, got {sorted(places) or 'none'}; "
            "ask for each by itself"
        )
    ((radius, norm),) = places
    measured = {g.attack: g.number if relative else g.reached for g in growth}
    images = len(next(iter(measured.values())))
    for claim in claims:
        if claim.values.shape != (images,):
            raise ValueError(
                f"{claim.name} must be one number for each of {images} images, "
                f"got shape {tuple(claim.values.shape)}; ask about the same images"
            )
    return Tightness(radius, norm, measured, tuple(claims))


def _gap(claim: Claim, strongest: Tensor) -> Gap:
    values = claim.values.to(strongest)
    known = (values > 0) & values.isfinite() & (strongest > 0) & strongest.isfinite()
    logs = (values[known] / strongest[known]).log10().double()
    levels = torch.tensor(LEVELS, dtype=torch.float64, device=logs.device)
    quantiles = tuple(logs.quantile(levels).tolist()) if len(logs) else None
    # A guarantee that is not a number guarantees nothing, and is violated by any.
    below = ~(values * (1 + _SLACK) >= strongest.nan_to_num(0.0))
    rows = below.nonzero().flatten().tolist() if claim.label == "guarantee" else []
    return Gap(
        name=claim.name,
        label=claim.label,
        quantiles=quantiles,
        images=int(known.sum()),
        undefined=int((~known).sum()),
        violations=tuple(rows),
    )


def _plain(values: Tensor) -> list[float | None]:
    """Return numbers, and None for what is not one."""
    finite = values.isfinite().tolist()
    return [v if ok else None for v, ok in zip(values.tolist(), finite, strict=True)]
