"""Convolutions at their true size: as maps, and their 2-norm from above.

On an endless lattice a convolution is a matrix for each frequency, and its norm the
largest of these. With zero padding and stride it is a part of such a map:

- A stride splits the input into phases, one set of channels for each: without stride.
- Where nothing wraps around into what is kept, the map is a part of one on a torus,
  with the frequencies of a torus alone. Its edges may be glued with either sign: of
  all these tori, the one of the least norm counts.
- A maximum over some frequencies bounds that over all: kernels are short, so symbols
  are trigonometric polynomials of low degree, which cannot rise far between close
  points (Ehlich and Zeller 1964).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from stoic.network.certified.rounding import is_plain
from stoic.sensitivity.bracket import outward, rounding
from stoic.sensitivity.digest import digest
from stoic.sensitivity.spectrum import about_largest, largest_singular

__all__ = ["Stencil"]

_ATEN = torch.ops.aten
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
# Points per degree: the norm is over-estimated by less than 1 % in two dimensions, by
# less than 4 % where channels are so many that this would take long.
_DENSITY, _WIDE = 32, 128
_CHUNK = 1 << 22
# Matrices with no more rows or columns are close enough in float32.
_SINGLE = 128
_CHEAP = 1 << 14
# Groups whose matrices have no more numbers between them are written out.
_BLOCKS = 1 << 22


@dataclass(frozen=True)
class Stencil:
    """A convolution with zero padding.

    Args:
        weight: Float64, of shape [outputs, inputs per group, *kernel].
        groups: Into which channels fall.
        size: Of the map that is read, along each dimension.
        out: Of the map that is made.
        stride: Along each dimension.
        padding: In front of the map, along each dimension.
        dilation: Along each dimension.
    """

    weight: Tensor
    groups: int
    size: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of a row that is read."""
        return (self.weight.shape[1] * self.groups, *self.size)

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of a row that is made."""
        return (len(self.weight), *self.out)

    @property
    def terms(self) -> int:
        """Products in the longest sum of either direction."""
        taps = math.prod(self.weight.shape[2:])
        return taps * max(self.weight.shape[1], len(self.weight) // self.groups)

    @property
    def absolute(self) -> Stencil:
        """The same with absolute numbers."""
        return replace(self, weight=self.weight.abs())

    def scaled(self, channels: Tensor) -> Stencil:
        """Return the same with a factor for each output channel."""
        factors = channels.reshape(-1, *[1] * (self.weight.dim() - 1))
        return replace(self, weight=self.weight * factors)

    @cached_property
    def key(self) -> Hashable:
        """The same for equal stencils."""
        options = (self.stride, self.padding, self.dilation)
        return (digest(self.weight), self.groups, self.size, self.out, *options)

    def apply(self, rows: Tensor) -> Tensor:
        """Return the convolution of float64 rows."""
        padded = F.pad(rows, self._margins)
        convolve = _CONVOLUTIONS[len(self.size)]
        options = (self.stride, 0, self.dilation, self.groups)
        return convolve(padded, self.weight, None, *options)

    def adjoint(self, rows: Tensor) -> Tensor:
        """Return the transposed convolution."""
        padded = F.pad(rows.new_zeros(len(rows), *self.domain), self._margins)
        zeros = [0] * len(self.size)
        options = (self.stride, zeros, self.dilation, False, zeros, self.groups)
        found, *_ = _ATEN.convolution_backward(
            *(rows, padded, self.weight, None), *options, [True, False, False]
        )
        return F.pad(found, [-margin for margin in self._margins])

    @property
    def _margins(self) -> list[int]:
        """Zeros around the map as ``pad`` wants them; negative where it is cut."""
        sides: list[int] = []
        for i in reversed(range(len(self.size))):
            reach = (self.out[i] - 1) * self.stride[i]
            reach += self.dilation[i] * (self.weight.shape[2 + i] - 1) + 1
            sides += [self.padding[i], reach - self.padding[i] - self.size[i]]
        return sides

    def upper(self) -> float:
        """Return a number that the 2-norm does not exceed."""
        if self.groups > 1 and self._block_numbers <= _BLOCKS:
            return largest_singular(self._blocks())
        taps, torus = self._phases
        close, _ = self._close._phases
        grid = _dense_grid(close)
        if math.prod(torus) * 2 ** len(torus) <= 2 * math.prod(grid):
            return _over_torus(taps, torus)
        return _over_all(close, grid)

    @property
    def _block_numbers(self) -> int:
        inside, outside = math.prod(self.domain), math.prod(self.range)
        return inside * outside // self.groups

    def _blocks(self) -> Tensor:
        """Return the matrix of each group: between them they hold the whole map."""
        inside = math.prod(self.domain) // self.groups
        units = torch.eye(inside, dtype=torch.float64)
        every = units.reshape(inside, 1, -1, *self.size).expand(
            -1, self.groups, -1, *self.size
        )
        found = self.apply(every.reshape(inside, *self.domain))
        return found.reshape(inside, self.groups, -1).transpose(0, 1)

    @cached_property
    def _phases(self) -> tuple[Tensor, tuple[int, ...]]:
        """Taps without a stride, [groups, outputs, inputs times phases, *offsets].

        Beside them the points of a torus on which nothing wraps around into what is
        kept: for any output and tap, the place on it says whether an element is read.
        """
        taps, points = self.weight, []
        for i, out in enumerate(self.out):
            taps, first = _split(taps, i, self)
            length = -(-self.size[i] // self.stride[i])
            last = first + taps.shape[2 + i] - 1
            points.append(max(length - min(first, 0), out + max(last, 0)))
        return taps.unflatten(0, (self.groups, -1)), tuple(points)

    @property
    def _close(self) -> Stencil:
        """The same taps without holes: so are the symbols, at other frequencies."""
        dilation = tuple(
            1 if stride == 1 else old
            for stride, old in zip(self.stride, self.dilation, strict=True)
        )
        return replace(self, dilation=dilation)


def _over_torus(taps: Tensor, points: tuple[int, ...]) -> float:
    """Return the least of the norms on tori whose edges are glued with either sign.

    Where that is cheap, larger tori are tried, too: their frequencies lie elsewhere.
    Those of about the least norm come first, and others only if they may be below it.
    """
    signs = [*product((0.0, math.pi), repeat=len(points))]
    cheap = math.prod(points) * math.prod(taps.shape[:3]) <= _CHEAP
    larger = product((0, 1, 2) if cheap else (0,), repeat=len(points))
    tori = [tuple(map(sum, zip(points, more, strict=True))) for more in larger]
    symbols = _Symbols.of(taps)
    asked = [(torus, phases) for torus in tori for phases in signs]
    about = [symbols.about(*grid) for grid in asked]
    least = math.inf
    for guess, grid in sorted(zip(about, asked, strict=True)):
        if guess < least:
            least = min(least, symbols.upper(*grid))
    return least


def _over_all(taps: Tensor, points: tuple[int, ...]) -> float:
    """Return a bound over all frequencies, from those of a grid."""
    norm = _Symbols.of(taps).upper(points, (0.0,) * len(points))
    for extent, count in zip(taps.shape[3:], points, strict=True):
        norm = outward(norm / math.cos(math.pi * (extent - 1) / (2 * count)), 1e-14)
    return norm


def _dense_grid(taps: Tensor) -> tuple[int, ...]:
    wide = max(taps.shape[1:3]) > _WIDE
    density = _DENSITY // 2 if wide else _DENSITY
    return tuple(max(density * (extent - 1) // 2, 1) for extent in taps.shape[3:])


@dataclass(frozen=True)
class _Symbols:
    """The matrices of a convolution by frequency.

    Args:
        taps: As shares of the largest, [offsets, groups times outputs times inputs];
            in float32, where that is enough.
        places: Of the taps, [offsets, dimensions].
        shape: [groups, outputs, inputs].
        scale: Of the largest tap.
        off: What rounding adds to a norm, as a share of the scale.
    """

    taps: Tensor
    places: Tensor
    shape: tuple[int, ...]
    scale: float
    off: float

    @classmethod
    def of(cls, taps: Tensor) -> _Symbols:
        """Prepare taps, [groups, outputs, inputs, *offsets]; float64."""
        shape, extents = tuple(taps.shape[:3]), taps.shape[3:]
        scale = float(taps.abs().max()) or 1.0
        flat = (taps / scale).flatten(3)
        few = min(shape[1:]) <= _SINGLE and is_plain(taps.device)
        kind = torch.float32 if few else torch.float64
        each = [torch.arange(extent) for extent in extents]
        places = torch.cartesian_prod(*each).reshape(-1, len(extents)).double()
        sums = float(torch.linalg.matrix_norm(flat.abs().sum(3)).max())
        # Angles are of float64: five roundings of no more than a turn for each place.
        turned = rounding(4 * sum(extents)) * sums
        off = rounding(2 * len(places), torch.finfo(kind).eps / 2) * sums + turned
        return cls(flat.flatten(0, 2).T.to(kind), places, shape, scale, off)

    def upper(self, points: tuple[int, ...], phases: tuple[float, ...]) -> float:
        """Return the largest norm over the frequencies of a grid, rounded up.

        Args:
            points: Frequencies along each dimension.
            phases: What each of them begins with.
        """
        found = 0.0
        for symbols in self._on(points, phases):
            found = largest_singular(symbols, found)
        return outward((found + self.off) * self.scale)

    def about(self, points: tuple[int, ...], phases: tuple[float, ...]) -> float:
        """Return about the same, in less time."""
        found = max(map(about_largest, self._on(points, phases)))
        return found * self.scale

    def _on(
        self, points: tuple[int, ...], phases: tuple[float, ...]
    ) -> Iterator[Tensor]:
        """Yield [frequencies, groups, outputs, inputs] of some frequencies at a time.

        Real kernels have the same norm at opposite frequencies: half of them do.
        """
        counts = (points[0] // 2 + 1, *points[1:])
        each = [
            (2 * math.pi * torch.arange(count).double() + phase) / total
            for count, total, phase in zip(counts, points, phases, strict=True)
        ]
        angles = torch.cartesian_prod(*each).reshape(-1, len(points)) @ self.places.T
        for some in angles.split(max(1, _CHUNK // self.taps.shape[1])):
            parts = [turn.to(self.taps.dtype) @ self.taps for turn in _turns(some)]
            yield torch.complex(*parts).unflatten(1, self.shape)


def _turns(angles: Tensor) -> tuple[Tensor, Tensor]:
    return angles.cos(), angles.sin()


def _split(taps: Tensor, i: int, stencil: Stencil) -> tuple[Tensor, int]:
    """Turn the phases of one dimension into channels.

    Tap ``j`` of output ``o`` reads element ``o * stride + j * dilation - padding``,
    which is number ``o + offset`` of its phase.
    """
    stride, dilation, padding = (
        option[i] for option in (stencil.stride, stencil.dilation, stencil.padding)
    )
    places = [j * dilation - padding for j in range(taps.shape[2 + i])]
    first = min(place // stride for place in places)
    extent = max(place // stride for place in places) - first + 1
    shape = list(taps.shape)
    shape[2 + i] = extent
    spread = taps.new_zeros(stride, *shape)
    for j, place in enumerate(places):
        spread[place % stride].select(2 + i, place // stride - first).copy_(
            taps.select(2 + i, j)
        )
    return spread.movedim(0, 2).flatten(1, 2), first
