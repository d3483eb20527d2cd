"""The direct way: round, run, and count the decisions that are still the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stoic.estimates.coins import coin_lower, coin_upper
from stoic.estimates.estimate import Estimate
from stoic.sensitivity.golden import Scored
from stoic.sensitivity.layers import Layer, run_layers
from stoic.sensitivity.quantised import Family, NarrowFormat

__all__ = ["Kept", "kept_by", "narrow_scores", "sweep", "uniform"]

# Widths in a row that keep every decision, after which wider ones are not tried.
_ENOUGH = 3
_CONFIDENCE = 0.95

Formats = Mapping[str, NarrowFormat]
"""Of the layers by name; a layer that is not named stays as it is."""


@dataclass(frozen=True)
class Kept:
    """What was measured in narrow formats.

    Args:
        share: Of the decisions that are the network's own.
        accuracy: Share of the decisions that are right; None without labels.
    """

    share: Estimate
    accuracy: float | None


def uniform(scored: Scored, format: NarrowFormat) -> Formats:
    """Return one format for all layers."""
    return {layer.name: format for layer in scored.layers}


@torch.inference_mode()
def narrow_scores(scored: Scored, formats: Formats, parts: str) -> Tensor:
    """Return the scores of a network whose layers have words in narrow formats.

    Args:
        scored: Network and inputs; nothing of it is changed.
        formats: Of the layers.
        parts: What is rounded: ``weights``, ``values`` that layers read, or ``both``.
    """
    stored, grids = {}, {}
    for layer in scored.layers:
        format = formats.get(layer.name)
        if format and parts != "values":
            weight = scored.program.stored[layer.weight]
            stored[layer.weight] = format.of_weights(weight)(weight)
        if format and parts != "weights":
            grids[layer.name] = format.of_values(*scored.ranges[layer.name])

    def rounded(layer: Layer, value: Tensor) -> Tensor:
        grid = grids.get(layer.name)
        return grid(value) if grid else value

    run = (scored.program, scored.layers)
    return torch.cat(
        [
            scored.tail(run_layers(*run, part.leaves, rounded, stored))
            for part in scored.inputs.batches(scored.batch)
        ]
    )


def kept_by(scored: Scored, scores: Tensor, labels: Tensor | None) -> Kept:
    """Return the decisions that scores keep; what is not finite keeps none."""
    found = scores.argmax(1)
    finite = scores.isfinite().all(1)
    same, n = int(((found == scored.decisions) & finite).sum()), len(found)
    level = (1 - _CONFIDENCE) / 2
    low, high = coin_lower(same, n, None, level), coin_upper(same, n, None, level)
    share = Estimate(same / n, low, high, n, _CONFIDENCE, "exact", "inputs like these")
    right = None if labels is None else (finite & (found == labels.to(found.device)))
    return Kept(share, None if right is None else right.double().mean().item())


def sweep(
    scored: Scored,
    family: Family,
    widths: Sequence[int],
    parts: str,
    labels: Tensor | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Kept]]:
    """Yield what is kept at each width, until several in a row keep everything.

    Args:
        scored: Network and inputs.
        family: Of the formats.
        widths: To try, in rising order.
        parts: What is rounded.
        labels: The right classes.
        tick: Called after each width.
    """
    whole = 0
    for width in widths:
        scores = narrow_scores(scored, uniform(scored, family(width)), parts)
        kept = kept_by(scored, scores, labels)
        tick()
        yield width, kept
        whole = whole + 1 if kept.share.value == 1 else 0
        if whole == _ENOUGH:
            return
