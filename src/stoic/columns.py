"""Numbers of tensors that several rooms have, for the joint table of predictions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stoic.campaign.fingerprint import network_fingerprint
from stoic.campaign.untouched import untouched
from stoic.monitors.monitor import Monitor
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.sensitivity.condition import condition
from stoic.sensitivity.gains import gain_by_norms
from stoic.sensitivity.norms import Store
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.profile import profile
from stoic.sensitivity.reach import NotKnownError, Reaches, reached
from stoic.study import as_inputs

__all__ = ["monitor_column", "norm_columns"]

# A relative error of every word at which hardly anything bends.
_SIZE = 2.0**-24


def norm_columns(network: nn.Module, inputs: Any) -> dict[str, dict[str, float]]:
    """Return what bounds say of each tensor of a layer.

    ``amplifies`` is the layer's norm times the size of what it reads over that of its
    result; ``wrong words`` how far scores can move, relative, per relative error of its
    words: both guarantees for a layer, and guesses of an order.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: As `stoic.pvf` takes them.

    Raises:
        NotKnownError: The network cannot be captured, has an operator without a bound,
            or other outputs than one tensor of scores.
    """
    given = as_inputs(inputs)
    store: Store = {}
    with untouched(network):
        subject = prepare(network, given)
        if not isinstance(subject, CapturedSubject):
            raise NotKnownError(
                f"network must be captured, got {subject.reason}; leave norms out"
            )
        program, gain = subject.program, gain_by_norms(store)
        scores = _scores(program)
        wrong = condition(
            *(program, given.leaves, scores, Perturbation(stored=_SIZE), store)
        )
        reach = reached(program, given.leaves, Perturbation(), gain)
        layers = profile(reach, store)
    amplifies: dict[str, float] = {}
    for layer in layers:
        for tensor in _tensors(reach.whole, layer.value):
            amplifies[tensor] = max(amplifies.get(tensor, 0.0), layer.amplifies)
    # A tensor that is read again and again is wrong each time.
    moves: dict[str, Tensor] = {}
    for step, moved in wrong.by_step.items():
        for tensor in _tensors(reach.whole, step):
            moves[tensor] = moves.get(tensor, torch.zeros(())) + moved
    words = {
        tensor: float(wrong.number(moved, _SIZE).nanmedian())
        for tensor, moved in moves.items()
    }
    found = {"amplifies": amplifies, "wrong words": words}
    return {name: column for name, column in found.items() if column}


def _scores(program: Program) -> str:
    if len(program.output_names) != 1:
        raise NotKnownError(
            "output must be one tensor of scores to be bounded, got "
            f"{len(program.output_names)}; leave bounds out: --no-norms"
        )
    (scores,) = program.output_names
    return scores


def _tensors(reaches: Reaches, step: str) -> list[str]:
    """Return the network's names of the stored tensors that a step reads."""
    origins = reaches.program.origins
    return [origins[name][0] for name in reaches.stored_in(step) if name in origins]


def monitor_column(file: Path, network: nn.Module) -> dict[str, float]:
    """Return how much a monitor's score hangs on the layer of each tensor.

    It is the share of all points that steps about the layer's values give.

    Args:
        file: Of a fitted monitor.
        network: Whose tensors are named.

    Raises:
        ValueError: The file is no monitor of this network.
    """
    points = Monitor.load(file, network_fingerprint(network)).points
    last = () if points.distance is None else points.distance.names
    values = [name.rpartition(" of ")[2] for name in points.features]
    # Distance and lead are of the last value.
    values += [points.distance.value for _ in last if points.distance]
    weights = defaultdict[str, float](float)
    for step in points.steps:
        for each in step.conditions:
            layer = values[each.feature].partition(":")[0]
            weights[layer] += abs(step.points) / len(step.conditions)
    total = sum(weights.values())
    names = [name for name, _ in network.named_parameters()]
    return {
        name: weights[layer] / total
        for name in names
        if (layer := name.rpartition(".")[0]) in weights
    }
