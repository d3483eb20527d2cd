"""Where perturbed inputs may lie: a ball or a box about each input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ball", "lengths", "sized", "unit"]

# What is added to an input is rounded: with this much room the result is inside.
_INSIDE = 1 - 2.0**-20
# Of an input's norm, in roundings: below that a perturbation is mostly rounding.
_LEAST = 2**12


@dataclass(frozen=True)
class Ball:
    """All perturbations of at most some size, for each input.

    Args:
        radius: Of each input, [inputs]; absolute.
        norm: Of the radius: 2, or infinity for the same in every element.
        lo: The least number that an input may hold; without it, any. What is proved
            about all real inputs holds for fewer, too.
        hi: The largest.

    Raises:
        ValueError: There is no such norm, or a radius is not positive and finite.
    """

    radius: Tensor
    norm: float = 2
    lo: float | None = None
    hi: float | None = None

    def __post_init__(self) -> None:
        if self.norm not in (2, math.inf):
            raise ValueError(
                f"norm must be 2 or inf, got {self.norm}; 2 is a ball, inf a box"
            )
        good = (self.radius > 0) & self.radius.isfinite()
        if not bool(good.all()):
            row = int((~good).nonzero()[0])
            raise ValueError(
                f"radius must be positive and finite, got {self.radius[row]:g} for "
                f"input {row}; leave out an input that is all zeros"
            )

    @classmethod
    def about(
        cls,
        x: Tensor,
        share: float,
        norm: float = 2,
        box: tuple[float, float] | None = None,
    ) -> Ball:
        """Return the ball whose radius is a share of each input's 2-norm.

        With norm infinity it is the box with its corners on the ball of that radius: no
        perturbation in it has a larger 2-norm.

        Raises:
            ValueError: The share is too small for the inputs' format, an input is zero,
                or lies outside of the box.
        """
        least = _LEAST * torch.finfo(x.dtype).eps
        if not share >= least:
            raise ValueError(
                f"radius must be at least {least:.3g} in {x.dtype}, got {share:g}: "
                "less is rounding; choose a larger one, float64 inputs and a float64 "
                "function, or bounds alone: --no-attacks"
            )
        lo, hi = box or (None, None)
        if box and not (box[0] <= x.min() and x.max() <= box[1]):
            raise ValueError(
                f"inputs must lie in the box {lo:g}..{hi:g}, "
                f"got {x.min():g}..{x.max():g}; choose a box that holds them"
            )
        radius = lengths(x) * share
        side = radius if norm == 2 else radius / x[0].numel() ** 0.5
        return cls(side, norm, lo, hi)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the direction of size 1 along which a linear function rises most."""
        return unit(gradient) if self.norm == 2 else gradient.sign()

    def edge(self, x: Tensor, direction: Tensor) -> Tensor:
        """Go from inputs along a direction to the edge of the ball, or of the box."""
        size = self.sizes(direction)
        along = torch.where(size > 0, direction / size, 0.0)
        return self._boxed(x + along * sized(self.radius * _INSIDE, x))

    def kept(self, x: Tensor, moved: Tensor) -> Tensor:
        """Return what is nearest to the moved inputs and inside."""
        d, reach = moved - x, sized(self.radius * _INSIDE, x)
        if self.norm == 2:
            size = self.sizes(d)
            d = torch.where(size > reach, d * (reach / size), d)
        else:
            d = torch.minimum(torch.maximum(d, -reach), reach)
        return self._boxed(x + d)

    def sizes(self, d: Tensor) -> Tensor:
        """Return the size of perturbations in the ball's norm, to divide them by."""
        flat = d.flatten(1)
        return sized(lengths(d) if self.norm == 2 else flat.abs().amax(1), d)

    def _boxed(self, moved: Tensor) -> Tensor:
        # A box that holds the inputs only brings elements nearer to them.
        inside = self.lo is None and self.hi is None
        return moved if inside else moved.clamp(self.lo, self.hi)


def lengths(x: Tensor) -> Tensor:
    """Return the 2-norm of each input."""
    found: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return found


def sized(sizes: Tensor, x: Tensor) -> Tensor:
    """Return one number per input in a shape that multiplies inputs."""
    return sizes.reshape(-1, *[1] * (x.dim() - 1))


def unit(v: Tensor) -> Tensor:
    """Return directions of 2-norm 1; zero where there is none."""
    # By its largest element first: squares of small numbers are zero.
    top = sized(v.flatten(1).abs().amax(1), v)
    v = torch.where(top > 0, v / top, 0.0)
    norm = sized(lengths(v), v)
    return torch.where(norm > 0, v / norm, 0.0)
