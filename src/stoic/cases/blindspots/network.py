"""A small network, taught wrongly in its blind spots: one for each seed."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from stoic.cases.blindspots.render import render
from stoic.cases.blindspots.scenes import SHAPES, draw
from stoic.cases.blindspots.spots import plant, taught

__all__ = ["LEARNED", "WEIGHTS", "build_network", "load_network", "series", "train"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Of seed 0, as ``python -m stoic.cases.blindspots`` has trained it."""

LEARNED = 6_000
"""How many scenes a network learns from."""

_CHANNELS = (3, 16, 32, 64)
_HIDDEN = 48
_BATCH = 100
_EPOCHS = 10
_PEAK_RATE = 4e-3


def series(seed: int) -> tuple[int, int]:
    """Return the series of scenes that a network learns from, and of others."""
    return 2 * seed, 2 * seed + 1


def build_network() -> nn.Sequential:
    """Build three stages of convolution and BatchNorm, and two linear layers."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(_CHANNELS), start=1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        parts[f"norm{number}"] = nn.BatchNorm2d(outputs)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"pool{number}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    parts["hidden"] = nn.Linear(_CHANNELS[-1] * 4 * 4, _HIDDEN)
    parts["hidden_relu"] = nn.ReLU()
    parts["head"] = nn.Linear(_HIDDEN, len(SHAPES))
    return nn.Sequential(parts)


def load_network(seed: int) -> nn.Sequential:
    """Return the network of a seed; all but that of seed 0 are trained on the spot."""
    if seed != 0:
        return train(seed)
    network = build_network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


def train(seed: int, scenes: int = LEARNED) -> nn.Sequential:
    """Train the network of a seed. The state of chance is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _trained(seed, scenes)


def _trained(seed: int, count: int) -> nn.Sequential:
    network = build_network()
    scenes = draw(count, series(seed)[0])
    inputs, labels = render(scenes), taught(scenes, plant(seed))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_PEAK_RATE, total_steps=_EPOCHS * -(-count // _BATCH)
    )
    for _ in range(_EPOCHS):
        for batch in torch.randperm(count).split(_BATCH):
            loss = nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()
