"""A width for each layer: the least loss under a budget, by integer programming."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoic.sensitivity.keeping import kept_share, losses
from stoic.sensitivity.layers import Layer
from stoic.sensitivity.noise import Noise

__all__ = ["CANDIDATES", "Assignment", "Budget", "assign", "cheapest", "named_budget"]

# Widths that layers choose from: those that hardware has a use for.
CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 12, 16)
# Of the linear loss along the curve: it follows the best assignment so far.
_ROUNDS = 5
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class Budget:
    """What the layers may cost in all.

    Args:
        kind: ``bytes`` of the weights, or ``bit-operations``: multiplications of one
            input times the widths of both factors.
        limit: Most that they may cost.
    """

    kind: str
    limit: float


@dataclass(frozen=True)
class Assignment:
    """A width for each layer.

    Args:
        widths: By name of the layer.
        cost: In the unit of the budget.
        budget: That it meets.
        kept: Share of the decisions that are predicted to be kept.
        uniform: The widest uniform width that meets the budget; None if none does.
        uniform_kept: Share of the decisions predicted for that.
    """

    widths: Mapping[str, int]
    cost: float
    budget: Budget
    kept: float
    uniform: int | None
    uniform_kept: float | None


def named_budget(
    kind: str, text: str, layers: Sequence[Layer], parts: str, stored: int = 32
) -> Budget:
    """Return the budget that a text such as ``50%``, ``120kB`` or ``3e9`` names.

    Args:
        kind: ``bytes`` or ``bit-operations``.
        text: A share of what the network's own format costs, or a number.
        layers: Of the network.
        parts: What is made narrower.
        stored: Width of the network's own format.

    Raises:
        ValueError: It is no such text, or not above 0.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e[+-]?\d+)?)\s*(%|B|kB|MB|GB|)\s*", text)
    number = 0.0
    if found and (found[2] in ("%", "") or kind == "bytes"):
        try:
            number = float(found[1])
        except ValueError:
            number = 0.0
    if not found or not 0 < number < float("inf"):
        units = "50%, 120kB or 2MB" if kind == "bytes" else "40% or 3e9"
        raise ValueError(
            f"budget must be such as {units}, above 0, got {text!r}; "
            "choose a share of what the network costs as it is, or a number"
        )
    if found[2] == "%" and number > 100:
        raise ValueError(
            f"budget must be at most 100 %, got {text!r}; "
            "that is what the network costs as it is"
        )
    if found[2] != "%":
        return Budget(kind, number * _UNITS[found[2]])
    whole = sum(_costs(kind, layer, [stored], parts, stored)[0] for layer in layers)
    return Budget(kind, number / 100 * whole)


def assign(
    noise: Noise, layers: Sequence[Layer], budget: Budget, parts: str, stored: int = 32
) -> Assignment:
    """Return the widths that keep most decisions within a budget, as predicted.

    The loss of a layer is linear in its variance, at the slope of the curve of the
    decisions kept where the last assignment stands. Errors of weights are drawn by lot
    there; what an assignment keeps is then told with their known ones, and none is
    returned that keeps less than the widest uniform width.

    Args:
        noise: Variances by layer and width.
        layers: Of the same network.
        budget: To meet.
        parts: What is made narrower.
        stored: Width of the network's own format.

    Raises:
        ValueError: No assignment meets the budget; the line tells the least cost.
    """
    chosen = [w for w in CANDIDATES if w in noise.widths] or list(noise.widths)
    places = [noise.widths.index(width) for width in chosen]
    variance = noise.of(parts)[:, places]
    costs = np.array(
        [_costs(budget.kind, each, chosen, parts, stored) for each in layers]
    )
    _check(costs, budget)
    level = _widest(costs, budget)
    uniform = None if level is None else [level] * len(layers)
    alike = None if uniform is None else _kept(noise, parts, chosen, uniform)
    at, best, most = variance[:, level or 0].sum(0), uniform, alike or 0.0
    picked: list[int] = []
    for _ in range(_ROUNDS):
        before = picked
        picked = cheapest(losses(noise, at, variance).numpy(), costs, budget.limit)
        if picked == before:
            break
        at = variance[range(len(layers)), picked].sum(0)
        kept = _kept(noise, parts, chosen, picked)
        if kept >= most:
            best, most = picked, kept
    assert best is not None
    return Assignment(
        widths={layer.name: chosen[p] for layer, p in zip(layers, best, strict=True)},
        cost=float(costs[range(len(layers)), best].sum()),
        budget=budget,
        kept=most,
        uniform=None if level is None else chosen[level],
        uniform_kept=alike,
    )


def _kept(
    noise: Noise, parts: str, chosen: Sequence[int], picked: Sequence[int]
) -> float:
    """Return the predicted share of decisions kept by widths, one for each layer."""
    places = [noise.widths.index(chosen[place]) for place in picked]
    return float(kept_share(noise, noise.mixed(parts, places)))


def cheapest(
    losses: NDArray[np.float64], costs: NDArray[np.float64], limit: float
) -> list[int]:
    """Return the choice for each row with the least loss in all, within a limit.

    Args:
        losses: A row for each layer, a column for each choice.
        costs: Likewise.
        limit: Of the costs in all; some choice meets it.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    layers, choices = losses.shape
    one_each = np.kron(np.eye(layers), np.ones(choices))
    # In their own size, losses and costs may be lost in the solver's tolerances.
    found = milp(
        (losses / (losses.max() or 1.0)).ravel(),
        integrality=np.ones(losses.size),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint((costs / limit).reshape(1, -1), -np.inf, 1),
        ],
        options={"mip_rel_gap": 1e-6, "time_limit": 30},
    )
    if found.x is None:
        raise RuntimeError(f"widths must be found, got {found.message}")
    return [int(i) for i in found.x.reshape(layers, choices).argmax(1)]


def _costs(
    kind: str, layer: Layer, widths: Sequence[int], parts: str, stored: int
) -> list[float]:
    if kind == "bytes":
        return [layer.words * width / 8 for width in widths]
    other = {"weights": lambda w: w * stored, "values": lambda w: w * stored}
    return [layer.macs * other.get(parts, lambda w: w * w)(width) for width in widths]


def _check(costs: NDArray[np.float64], budget: Budget) -> None:
    least = costs.min(1).sum()
    if least > budget.limit:
        raise ValueError(
            f"budget must be at least {least:,.0f} {budget.kind} for the narrowest "
            f"widths, got {budget.limit:,.0f}; raise it, or give a share such as 50%"
        )


def _widest(costs: NDArray[np.float64], budget: Budget) -> int | None:
    """Return the place of the widest width that all layers can have."""
    fits = np.flatnonzero(costs.sum(0) <= budget.limit)
    return int(fits[-1]) if len(fits) else None
