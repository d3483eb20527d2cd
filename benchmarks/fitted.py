"""Networks with monitors that are really fitted to them, saved as files for reuse.

ResNet-50 has seeded random weights and generated pictures, EfficientNet-Lite0 twenty
photos, moved and mirrored: nothing is said here of how well these monitors tell. Their
size and what they compute is that of any other fitted monitor.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks import printing
from benchmarks.networks import build
from torch import Tensor, nn

import stoic
from stoic.campaign.fingerprint import network_fingerprint
from stoic.cases.cache import cache_folder
from stoic.monitoring import MonitorSettings, fit
from stoic.monitors.monitor import Monitor

__all__ = [
    "NETWORKS",
    "Subject",
    "fitted_monitor",
    "monitor_options",
    "monitors_folder",
    "subject",
]

NETWORKS = ("resnet50", "efficientnet-lite0", "signs", "digits")
# A convolutional network of ImageNet takes long per input.
_LARGE = MonitorSettings(choose="layers", most=2, rate=0.1, batch=8)
_SETTINGS = {
    "resnet50": (96, _LARGE),
    # Few faults of a network with bounded activations have consequences.
    "efficientnet-lite0": (320, _LARGE),
    "signs": (1000, MonitorSettings(choose="pairs", rate=0.01)),
    "digits": (420, MonitorSettings(choose="pairs", rate=0.05)),
}


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and inputs for it.

    Args:
        name: One of `NETWORKS`.
        network: In evaluation mode.
        inputs: As many as were asked for.
    """

    name: str
    network: nn.Module
    inputs: Tensor


def subject(name: str, count: int) -> Subject:
    """Return a network with so many inputs."""
    if name == "resnet50":
        return _resnet(count)
    lite0 = name == "efficientnet-lite0"
    case = stoic.load("imagenet") if lite0 else stoic.load(name, count)
    assert isinstance(case.inputs, Tensor)
    return Subject(name, case.network, _more(case.inputs, count))


def _resnet(count: int) -> Subject:
    """Return the network that its monitor is fitted to, however many inputs are asked.

    Its weights hang on pictures, and in the last bit on the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = build("resnet50", batch=_SETTINGS["resnet50"][0], image=224)
    torch.set_num_threads(threads)
    return Subject("resnet50", made.network, made.inputs[:count])


def _more(photos: Tensor, count: int) -> Tensor:
    """Return photos, then the same moved sideways, every other time mirrored."""
    rounds = -(-count // len(photos))
    made = [
        photos.roll(8 * number, 3).flip(3) if number % 2 else photos.roll(8 * number, 3)
        for number in range(rounds)
    ]
    return torch.cat(made)[:count]


def monitors_folder() -> Path:
    """Return where fitted monitors are kept unless a user says otherwise."""
    return cache_folder() / "monitors"


def monitor_options(parser: argparse.ArgumentParser) -> None:
    """Add the options by which `fitted_monitor` finds a file."""
    parser.add_argument(
        "--monitors", type=Path, default=monitors_folder(), help="folder of their files"
    )
    parser.add_argument(
        "--monitor",
        type=Path,
        metavar="FILE",
        help="of 'stoic monitor fit', in place of the folder's; of the one network",
    )


def fitted_monitor(of: Subject, options: argparse.Namespace) -> Monitor:
    """Return the file that was asked for, or that a folder has; else fit and save it.

    Args:
        of: The network; it is fitted with inputs of its own.
        options: Of `monitor_options`. Files of the folder have names such as
            ``resnet50.monitor.json``.

    Raises:
        ValueError: The file that was asked for is of another network, or none.
    """
    fingerprint = network_fingerprint(of.network)
    if options.monitor:
        return Monitor.load(options.monitor, fingerprint)
    folder = options.monitors
    path = folder / f"{of.name}.monitor.json"
    # None yet, of an older format, or of other weights: another machine's calibration.
    with contextlib.suppress(OSError, ValueError):
        return Monitor.load(path, fingerprint)
    count, settings = _SETTINGS[of.name]
    printing.say(f"fitting a monitor to {of.name} with {count} inputs: {path}")
    inputs = subject(of.name, count).inputs
    monitor = fit(of.network, inputs, settings, notice=printing.say).monitor
    folder.mkdir(parents=True, exist_ok=True)
    monitor.save(path)
    return monitor
