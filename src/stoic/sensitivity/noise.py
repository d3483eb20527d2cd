"""Noise of rounding: how far the leads of decisions move, layer by layer.

The errors of rounded weights are known, and the same for all inputs: a lead moves by
the sum of error times slope, to first order. Those of values hang on what was rounded
before them: they are taken for independent of each other and of the slopes, so that a
lead varies by the sum, over all words, of squared error times squared slope. The errors
are those that the format really makes of the tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from stoic.network.program import Program
from stoic.network.smooth import aliased, smoothed
from stoic.sensitivity.golden import Scored
from stoic.sensitivity.layers import Layer, run_layers
from stoic.sensitivity.quantised import Family, Grid

__all__ = ["Noise", "Shift", "measure_noise", "probes_of"]

# Classes next to the best one whose leads are followed: others catch up less often.
_RIVALS = 3
# Probes whose slopes of all weights are kept, so that errors are read less often.
_TOGETHER = 4


@dataclass(frozen=True, eq=False)
class Shift:
    """How far leads move; in its last two dimensions by probe and rival.

    Args:
        known: What is known of it.
        variance: Of the rest, which is 0 on average.
    """

    known: Tensor
    variance: Tensor


@dataclass(frozen=True, eq=False)
class Noise:
    """What rounding does to leads, by layer.

    Args:
        layers: Names, in order.
        widths: Of the formats, in order.
        probes: Numbers of the inputs that slopes were asked of.
        leads: Of every input, by how much the best class leads the next ones.
        known: By how much rounded weights move each lead, by layer, width, probe and
            rival.
        weights: Variance likewise, were the errors of weights drawn by lot.
        values: The same of the rounded values that the layers read.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    probes: Tensor
    leads: Tensor
    known: Tensor
    weights: Tensor
    values: Tensor

    def uniform(self, parts: str) -> Shift:
        """Return the shift where all layers have one width, for each of the widths."""
        known = self.known if parts != "values" else torch.zeros_like(self.known)
        values = self.values if parts != "weights" else torch.zeros_like(self.values)
        return Shift(known.sum(0), values.sum(0))

    def mixed(self, parts: str, places: Sequence[int]) -> Shift:
        """Return the shift where each layer has a width of its own, by its place."""
        rows = range(len(self.layers))
        own = replace(
            self,
            known=self.known[rows, places].unsqueeze(1),
            values=self.values[rows, places].unsqueeze(1),
        ).uniform(parts)
        return Shift(own.known[0], own.variance[0])

    def of(self, parts: str) -> Tensor:
        """Return variances of what is rounded by lot: weights, values, or both.

        They add up from layer to layer, which is what widths by layer need.
        """
        each = {"weights": self.weights, "values": self.values}
        return each[parts] if parts in each else self.weights + self.values


def probes_of(leads: Tensor, most: int, seed: int) -> Tensor:
    """Return the inputs to ask: half with the least leads, and as many by lot.

    Decisions with little lead are the first to change; the others stand for the rest.
    """
    order = leads[:, 0].argsort()
    if len(order) <= most:
        return order
    near = most // 2
    chance = torch.Generator().manual_seed(seed)
    others = torch.randperm(len(order) - near, generator=chance)[: most - near]
    return torch.cat([order[:near], order[near:][others]])


def measure_noise(
    scored: Scored, family: Family, widths: Sequence[int], probes: int, seed: int
) -> Noise:
    """Return how far leads move in formats of several widths.

    It costs a forward run and a few backward ones for each of the probes.

    Args:
        scored: Network and inputs.
        family: Of the formats.
        widths: Of them.
        probes: Inputs that slopes are asked of, at most.
        seed: Of the choice of probes.
    """
    rivals = min(_RIVALS, scored.scores.shape[1] - 1)
    best = scored.scores.double().topk(rivals + 1, dim=1).values
    leads = best[:, :1] - best[:, 1:]
    chosen = probes_of(leads, probes, seed)
    grids = _Grids.of(scored, family, widths)
    shape = (len(scored.layers), len(widths), len(chosen), rivals)
    known = torch.zeros(shape, dtype=torch.float64)
    weights, values = torch.zeros_like(known), torch.zeros_like(known)
    slopes = enumerate(_slopes(scored, chosen, rivals))
    while some := list(islice(slopes, _TOGETHER)):
        first, last = some[0][0], some[-1][0] + 1
        for row, layer in enumerate(scored.layers):
            own = grids.of_weight(layer, [each for _, each in some])
            known[row, :, first:last], weights[row, :, first:last] = own
            for place, each in some:
                values[row, :, place] = grids.noise_of_values(layer, each)
    names = tuple(layer.name for layer in scored.layers)
    return Noise(names, tuple(widths), chosen, leads, known, weights, values)


@dataclass(frozen=True, eq=False)
class _Slopes:
    """Slopes of one input's leads, a row for each rival.

    Args:
        weights: By name of the stored value, its words flat.
        values: By layer: what each of its products read, and the squared slopes.
    """

    weights: Mapping[str, Tensor]
    values: Mapping[str, list[tuple[Tensor, Tensor]]]


def _slopes(scored: Scored, chosen: Tensor, rivals: int) -> Iterator[_Slopes]:
    names = sorted({layer.weight for layer in scored.layers})
    with torch.inference_mode(False), torch.enable_grad():
        program = smoothed(scored.program, names)
        stored = {name: program.stored[name] for name in names}
    for number in chosen.tolist():
        leaves = scored.inputs.rows(number, number + 1).leaves
        with torch.inference_mode(False), torch.enable_grad():
            yield _of_one(program, scored, leaves, stored, rivals)


def _of_one(
    program: Program,
    scored: Scored,
    leaves: Sequence[Any],
    stored: Mapping[str, Tensor],
    rivals: int,
) -> _Slopes:
    taken: list[tuple[str, Tensor]] = []

    def apart(layer: Layer, value: Tensor) -> Tensor:
        own = value.view_as(value) if value.requires_grad else aliased(value)
        own = own if own.requires_grad else own.requires_grad_()
        taken.append((layer.name, own))
        return own

    output = run_layers(program, scored.layers, list(map(aliased, leaves)), apart)
    scores = scored.tail(output)[0]
    order = scores.detach().topk(rivals + 1).indices
    leads = scores[order[0]] - scores[order[1:]]
    sought = [*stored.values(), *(value for _, value in taken)]
    rows = [
        torch.autograd.grad(lead, sought, retain_graph=True, materialize_grads=True)
        for lead in leads
    ]
    slopes = [
        torch.stack([g.detach().flatten() for g in each])
        for each in zip(*rows, strict=True)
    ]
    values: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, value), own in zip(taken, slopes[len(stored) :], strict=True):
        values.setdefault(name, []).append((value.detach(), own.square_()))
    return _Slopes(dict(zip(stored, slopes, strict=False)), values)


@dataclass(frozen=True, eq=False)
class _Grids:
    """The numbers of every format, for each layer.

    Args:
        errors: Of the words of each weight, a row for each width.
        values: Of what each layer reads, one for each width.
    """

    errors: Mapping[str, Tensor]
    values: Mapping[str, list[Grid]]

    @classmethod
    def of(cls, scored: Scored, family: Family, widths: Sequence[int]) -> _Grids:
        formats = [family(width) for width in widths]
        errors, values = {}, {}
        for layer in scored.layers:
            weight = aliased(scored.program.stored[layer.weight]).detach()
            rounded = [f.of_weights(weight)(weight) for f in formats]
            errors[layer.weight] = _errors(rounded, weight)
            low, high = scored.ranges[layer.name]
            values[layer.name] = [f.of_values(low, high) for f in formats]
        return cls(errors, values)

    def of_weight(
        self, layer: Layer, slopes: Sequence[_Slopes]
    ) -> tuple[Tensor, Tensor]:
        """Return known shifts and variances, by width, probe and rival."""
        errors = self.errors[layer.weight]
        rows = torch.cat([each.weights[layer.weight] for each in slopes])
        known, variance = errors @ rows.T, errors.square() @ rows.square_().T
        shape = (len(errors), len(slopes), -1)
        return known.double().reshape(shape), variance.double().reshape(shape)

    def noise_of_values(self, layer: Layer, slopes: _Slopes) -> Tensor:
        """Return the variance by width and rival."""
        parts = [
            _errors([grid(v) for grid in self.values[layer.name]], v).square_()
            @ square.T
            for v, square in slopes.values[layer.name]
        ]
        return torch.stack(parts).sum(0).double()


def _errors(rounded: Sequence[Tensor], exact: Tensor) -> Tensor:
    return torch.stack([(r - exact).flatten() for r in rounded])
