"""Checksums: does the sum of a layer's outputs agree with that of its weights?

The sum over the output channels of a convolution or a linear layer is what one summed
filter makes of the same input. The summed filter is taken from golden weights, so that
a fault in a weight shows as much as one in what the layer computes. An input that was
spoilt before the layer does not show, nor does a fault after it, as in what follows a
batch norm.

References:
    Huang and Abraham, Algorithm-based fault tolerance for matrix operations, 1984.
    Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1: bound on
    the rounding of sums of products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stoic.network.captured import CapturedBench, CapturedSubject
from stoic.network.program import Program, Ref, Step
from stoic.network.rows import ODD, SAME, RowDim

__all__ = [
    "EXCESS",
    "Checksum",
    "Checksums",
    "checksums_of",
    "excess_of",
    "fit_checksums",
]

# The name of the feature, in front of the value's.
EXCESS = "checksum excess"
_TINY = 1e-300
# Roundoffs below which no largest deviation is believed.
_LEAST = 0.25


def excess_of(site: str) -> str:
    """Return the name of the feature, such as ``checksum excess of conv1:out``."""
    return f"{EXCESS} of {site}"


@dataclass(frozen=True, eq=False)
class Checksum:
    """The summed filter of one layer.

    Args:
        site: Name of the layer's output for people, such as ``conv1:out``.
        output: Its name in the program.
        source: Name of the layer's input in the program.
        filter: Sum of golden weights over output channels, in double precision: of
            shape ``(1, inputs, ...)`` for a convolution, ``(inputs,)`` for others.
        size: Likewise of absolute weights.
        bias: Sum of biases.
        bias_size: Sum of absolute biases.
        convolution: Its function's name, such as ``conv2d``; empty for other layers.
        how: Stride, padding and dilation of a convolution.
        rows: Where the inputs of the network lie in the output.
        tolerance: Of a deviation, as a multiple of the unit roundoff times the sum of
            absolute products.
    """

    site: str
    output: str
    source: str
    filter: Tensor
    size: Tensor
    bias: float
    bias_size: float
    convolution: str
    how: Mapping[str, Any]
    rows: RowDim
    tolerance: float

    @torch.no_grad()
    def deviation(
        self, source: Tensor, output: Tensor, sums: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return by how much sums deviate at most, in units of rounding.

        Args:
            source: Input of the layer.
            output: What the layer made of it.
            sums: Summed filter and size, where they lie on another device.

        Returns:
            Double precision, of shape ``(inputs,)``; infinite where a number is not.
        """
        wide = source.double()
        summed, size = sums or (self.filter, self.size)
        expected = self._product(wide, summed) + self.bias
        scale = self._product(wide.abs(), size) + self.bias_size
        found = output.double().sum(1 if self.convolution else -1)
        unit = torch.finfo(output.dtype).eps / 2
        away = (found - expected).abs() / (unit * scale + _TINY)
        by_input = self.rows.apart(away).movedim(self.rows.dim + 1, 0)
        worst = by_input.flatten(1).amax(1)
        return worst.nan_to_num(nan=math.inf, posinf=math.inf)

    def excess(
        self, source: Tensor, output: Tensor, sums: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return deviations as multiples of the tolerance, float32, ``(inputs,)``.

        Arguments are those of `deviation`.
        """
        wide = self.deviation(source, output, sums) / self.tolerance
        # A large deviation of finite numbers stays a number.
        large = wide.clamp(max=torch.finfo(torch.float32).max).float()
        return large.masked_fill(wide.isinf(), math.inf)

    def _product(self, source: Tensor, weight: Tensor) -> Tensor:
        weight = weight.to(source.device)
        if not self.convolution:
            return source @ weight
        convolve = getattr(functional, self.convolution)
        product: Tensor = convolve(source, weight, None, **self.how)
        return product.squeeze(1)


@dataclass(frozen=True, eq=False)
class Checksums:
    """Checksums of the layers of a network, as a monitor.

    Args:
        checks: One per layer.
    """

    checks: tuple[Checksum, ...]

    @cached_property
    def values(self) -> frozenset[str]:
        """Names of the values of the program that it needs."""
        return frozenset(
            n for check in self.checks for n in (check.source, check.output)
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it tells, such as ``checksum excess of conv1:out``."""
        return tuple(excess_of(check.site) for check in self.checks)

    def excess(self, values: Mapping[str, Any]) -> Tensor:
        """Return deviations as multiples of their tolerances.

        Args:
            values: By their names in the program, as `CapturedBench.watched` has them.

        Returns:
            Float32, of shape ``(inputs, layers)``; above 1 is an alarm, infinite is
            where a number is not.
        """
        columns = [
            check.excess(values[check.source], values[check.output])
            for check in self.checks
        ]
        return torch.stack(columns, 1)

    def raised(self, values: Mapping[str, Any]) -> Tensor:
        """Say for each input whether any layer's sums disagree; bool, ``(inputs,)``."""
        return (self.excess(values) > 1).any(1)

    @property
    def tolerances(self) -> dict[str, float]:
        """Tolerance of each layer, by the name of its value."""
        return {check.site: check.tolerance for check in self.checks}

    def only(self, tolerances: Mapping[str, float]) -> Checksums:
        """Return the checksums of some layers, in that order, with other tolerances.

        Raises:
            ValueError: A layer has none.
        """
        known = {check.site: check for check in self.checks}
        for name in tolerances:
            if name not in known:
                raise ValueError(
                    "checksums must be of convolutions or linear layers of the "
                    f"network, got {name!r}; choose among {_few(known)}"
                )
        found = tolerances.items()
        return Checksums(tuple(replace(known[n], tolerance=t) for n, t in found))


def _few(names: Iterable[str]) -> str:
    first, more = list(names)[:5], max(len(list(names)) - 5, 0)
    return ", ".join(first) + (f" and {more} more" if more else "")


@torch.no_grad()
def checksums_of(subject: CapturedSubject) -> Checksums:
    """Return checksums with tolerances that rounding cannot exceed.

    Products are assumed to be summed one by one in the output's own precision or
    better, in any order: true of plain and of blocked sums, not of Winograd's or
    reduced-precision convolutions. For these, and for narrow tolerances, see
    `fit_checksums`. Layers of which the inputs' rows cannot be told apart are left out.

    Raises:
        ValueError: The network has no layer with weights that are known beforehand.
    """
    program = subject.program
    sites = {site.value: site.name for site in subject.sites}
    known = _Constants(program)
    found = [
        check
        for step in program.steps
        if (rows := _rows(subject, step)) is not None
        and (check := _check(step, known, sites.get(step.name, step.name), rows))
        is not None
    ]
    if not found:
        raise ValueError(
            "checksums need a convolution or a linear layer, got a network with "
            f"none among {len(program.steps)} steps; use another monitor"
        )
    return Checksums(tuple(found))


@torch.inference_mode()
def fit_checksums(
    subject: CapturedSubject, benches: Iterable[CapturedBench], *, slack: float = 4.0
) -> Checksums:
    """Return checksums with tolerances found in fault-free runs.

    Many times narrower than `checksums_of`: errors of rounding mostly cancel. Other
    machines may round differently: give runs of the machine that it is for.

    Args:
        subject: The network.
        benches: Of fault-free inputs.
        slack: A tolerance is so many times the largest deviation of its layer.

    Raises:
        ValueError: No layer can be checked, there is no run, or a run is not finite.
    """
    derived = checksums_of(subject)
    worst: Tensor | None = None
    for bench in benches:
        _, values = bench.watched([], derived.values)
        own = torch.stack(
            [c.deviation(values[c.source], values[c.output]) for c in derived.checks]
        ).amax(1)
        worst = own if worst is None else torch.maximum(worst, own)
    if worst is None:
        raise ValueError("checksums need at least 1 fault-free run to fit, got none")
    if not worst.isfinite().all():
        broken = derived.checks[int(worst.isfinite().int().argmin())].site
        raise ValueError(
            f"fault-free runs must be finite, got one that is not at {broken}; "
            "leave the input out"
        )
    # Where numbers happen to be exact, other inputs' are not.
    pairs = zip(derived.checks, worst.tolist(), strict=True)
    return Checksums(
        tuple(
            replace(check, tolerance=slack * max(most, _LEAST)) for check, most in pairs
        )
    )


class _Constants:
    """Values of a program that do not depend on inputs."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._found: dict[str, Any] = dict(program.stored)

    def __call__(self, name: str) -> Any:
        """Return a value; None where it depends on inputs."""
        if name in self._found:
            return self._found[name]
        step = self._program.by_name.get(name)
        if step is None:
            return None
        ready = bool(step.inputs) and all(self(n) is not None for n in step.inputs)
        self._found[name] = step(self._found.__getitem__) if ready else None
        return self._found[name]


def _rows(subject: CapturedSubject, step: Step) -> RowDim | None:
    """Return where the inputs lie in what a step makes, apart from its channels."""
    if subject.rows is None:
        return RowDim(0) if step.operator.startswith("conv") else None
    found = subject.rows.get(step.name, ODD)
    # Inputs never lie in the channels of a layer whose weights they share.
    return found if found not in (SAME, ODD) else None


def _check(step: Step, known: _Constants, site: str, rows: RowDim) -> Checksum | None:
    """Return the checksum of a step, if it is a layer with known weights."""
    match step.operator, step.args:
        case "conv1d" | "conv2d" | "conv3d", (Ref(source), Ref(weight), *rest):
            return _of_convolution(step, known, site, rows, source, known(weight), rest)
        case "linear", (Ref(source), Ref(weight), *rest):
            bias = rest[0] if rest else None
            return _of_linear(step, known, site, rows, source, known(weight), bias)
        case "mm", (Ref(source), Ref(weight)):
            turned = _turned(known(weight))
            return _of_linear(step, known, site, rows, source, turned, None)
        case "addmm", (Ref() as bias, Ref(source), Ref(weight)) if not step.kwargs:
            turned = _turned(known(weight))
            return _of_linear(step, known, site, rows, source, turned, bias)
    return None


def _of_convolution(
    step: Step,
    known: _Constants,
    site: str,
    rows: RowDim,
    source: str,
    weight: Tensor | None,
    rest: list[Any],
) -> Checksum | None:
    bias = _bias(rest[0] if rest else None, known)
    names = ("stride", "padding", "dilation", "groups")
    how = {**dict(zip(names, rest[1:], strict=False)), **step.kwargs}
    groups = how.pop("groups", 1)
    if weight is None or bias is None or not set(how) <= set(names):
        return None
    # The compiler knows no lists of a graph's own kind.
    how = {
        key: [*each] if isinstance(each, list) else each for key, each in how.items()
    }
    # The sum over all groups: filters of groups, side by side along the inputs.
    wide = weight.detach().double()
    apart = wide.unflatten(0, (groups, -1))
    return Checksum(
        site=site,
        output=step.name,
        source=source,
        filter=apart.sum(1).flatten(0, 1)[None],
        size=apart.abs().sum(1).flatten(0, 1)[None],
        bias=float(bias.sum()),
        bias_size=float(bias.abs().sum()),
        convolution=step.operator,
        how=how,
        rows=rows,
        tolerance=_derived(math.prod(weight.shape[1:]) + 1, weight.dtype),
    )


def _of_linear(
    step: Step,
    known: _Constants,
    site: str,
    rows: RowDim,
    source: str,
    weight: Tensor | None,
    bias: Any,
) -> Checksum | None:
    found = _bias(bias, known)
    if weight is None or found is None:
        return None
    wide = weight.detach().double()
    return Checksum(
        site=site,
        output=step.name,
        source=source,
        filter=wide.sum(0),
        size=wide.abs().sum(0),
        # A bias of addmm that is one number counts once per output.
        bias=float(found.expand(len(wide)).sum()),
        bias_size=float(found.abs().expand(len(wide)).sum()),
        convolution="",
        how={},
        rows=rows,
        tolerance=_derived(wide.shape[1] + 1, weight.dtype),
    )


def _bias(bias: Any, known: _Constants) -> Tensor | None:
    """Return a bias, zero where there is none; None where it is not known."""
    if bias is None:
        return torch.zeros(1, dtype=torch.float64)
    value = known(bias.name)
    fits = isinstance(value, Tensor) and value.dim() == 1
    return value.detach().double() if fits else None


def _turned(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.T


def _derived(terms: int, dtype: torch.dtype) -> float:
    """Return what rounding can reach: each of the terms rounds twice, and the sum."""
    unit = torch.finfo(dtype).eps / 2
    count = terms + 1
    # Where so many roundings can undo all digits there is no bound.
    return count / (1 - count * unit) if count * unit < 1 else math.inf
