"""A network that returns its output with a verdict: whether it went wrong, and why.

The captured graph is run with a few operators more, in the same inference. So it can be
compiled, exported and moved like any other network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from stoic.campaign.checks import check_network
from stoic.campaign.fingerprint import network_fingerprint
from stoic.monitors.checksum import Checksums
from stoic.monitors.monitor import Monitor
from stoic.monitors.summed import SumCheck, summed
from stoic.monitors.taps import tap_of
from stoic.monitors.verdict import Judge, Verdict
from stoic.network.captured import CapturedSubject
from stoic.network.inplace import overwriting
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.subject import Inputs
from stoic.network.tapped import Tapped, tapped

__all__ = ["Guarded", "Plan", "guard", "guard_with_file"]

_ORDER = "guard the network itself first, then compile or export what comes back"


@dataclass(frozen=True, eq=False)
class Plan:
    """What a guarded network is built from.

    Args:
        subject: The captured network.
        inputs: Example inputs.
        monitor: That was fitted for it.
        sites: Of its watches, in order.
        checksums: Of the network's own weights, as the monitor looks at them.
    """

    subject: CapturedSubject
    inputs: Inputs
    monitor: Monitor
    sites: tuple[Site, ...]
    checksums: Checksums = Checksums(())

    @classmethod
    def of(cls, subject: CapturedSubject, inputs: Inputs, monitor: Monitor) -> Plan:
        """Find the sites of a monitor's watches, and sum the weights it checks.

        Raises:
            ValueError: The network has no such value with a row per input, or no such
                layer.
        """
        sites = {site.name: site for site in subject.sites if site.kind == "activation"}
        for watch in monitor.watches:
            if watch.value not in sites or sites[watch.value].rows != 0:
                raise ValueError(
                    "watches must be values of the network with a row per input, got "
                    f"{watch.value!r}; give inputs like those that it was fitted on"
                )
        found = tuple(sites[watch.value] for watch in monitor.watches)
        return cls(subject, inputs, monitor, found, summed(monitor, subject))

    def built(self, *, portable: bool) -> Tapped:
        """Return the network with its monitor inside.

        Args:
            portable: As for `taps.tap_of`.
        """
        pairs = zip(self.sites, self.monitor.watches, strict=True)
        taps: list[tuple[tuple[str, ...], nn.Module]] = [
            ((site.value,), tap_of(watch, site.shape, portable=portable))
            for site, watch in pairs
        ]
        taps += [((c.source, c.output), SumCheck(c)) for c in self.checksums.checks]
        device = self.inputs.device
        taps = [(values, tap.to(device)) for values, tap in taps]
        held = {value for values, _ in taps for value in values}
        in_place = {} if portable else overwriting(self.subject, held)
        judge, program = Judge(self.monitor).to(device), self.subject.program
        return tapped(program, taps, judge, self.inputs, in_place=in_place)


class Guarded(nn.Module):
    """A network that returns its output with a verdict.

    Made by `guard`. The output has the words of the network's own; where a network has
    layers with a fused attention path, those of its run without that path. What the
    monitor compares stays float32 whatever else is converted.

    Args:
        plan: What it is built from.
        portable: As for `taps.tap_of`.
    """

    def __init__(self, plan: Plan, *, portable: bool = False) -> None:
        super().__init__()
        self.plan = plan
        self.network = plan.built(portable=portable)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Verdict]:
        """Return the network's output, and the verdict on each row."""
        output, verdict = self.network(*args, **kwargs)
        return output, verdict

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Guarded:
        """Convert or move everything, but only move what the monitor compares."""
        kept = [
            (module, name, buffer)
            for part in self.network.graph.children()
            for module in part.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for module, name, buffer in kept:
            module._buffers[name] = buffer.to(module.get_buffer(name).device)
        return self


def guard(network: nn.Module, monitor: Monitor, inputs: Inputs) -> Guarded:
    """Return a network that returns its output with a verdict in the same inference.

    The network is left as it was; both share their parameters. Guard first, then
    compile or export.

    Args:
        network: In evaluation mode, as the monitor was fitted for it.
        monitor: Fitted for this network.
        inputs: Examples, of the shape that it will be called with but for the number of
            rows.

    Raises:
        TypeError: It is compiled, exported, scripted or guarded already.
        ValueError: It is in training mode, the monitor belongs to another network, or
            the network cannot be captured.
    """
    _refuse_wrapped(network)
    check_network(network)
    found = network_fingerprint(network)
    if found != monitor.fingerprint:
        raise ValueError(
            "monitor must be one of this network, got one of another "
            f"({monitor.fingerprint[:12]}, not {found[:12]}); fit it again"
        )
    subject = prepare(network, inputs)
    if not isinstance(subject, CapturedSubject):
        raise ValueError(
            f"network must be one that can be captured, got: {subject.reason}; "
            "change its code, or watch it from outside"
        )
    return Guarded(Plan.of(subject, inputs, monitor))


def guard_with_file(network: nn.Module, path: Path, inputs: Inputs) -> Guarded:
    """Guard a network with a monitor that was saved.

    Raises:
        TypeError: As `guard`.
        ValueError: As `guard` and `Monitor.load`.
    """
    _refuse_wrapped(network)
    return guard(network, Monitor.load(path, network_fingerprint(network)), inputs)


def _refuse_wrapped(network: Any) -> None:
    """Refuse what hides the values that a monitor looks at."""
    if isinstance(network, ExportedProgram):
        raise TypeError(
            f"network must be a plain module, got an exported one; {_ORDER}"
        )
    parts = network.named_modules() if isinstance(network, nn.Module) else ()
    for path, module in parts:
        kind = _wrapped(module)
        if kind is not None:
            part = f" in {path}" if path else ""
            raise TypeError(
                f"network must be a plain module, got one that is {kind}{part}; "
                f"{_ORDER}"
            )


def _wrapped(module: nn.Module) -> str | None:
    """Return what has been made of a module, if anything."""
    if isinstance(module, Guarded):
        return "guarded already"
    if isinstance(module, torch._dynamo.OptimizedModule):
        return "compiled"
    if module._compiled_call_impl is not None:
        return "compiled"
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted"
    codegen = getattr(getattr(module, "graph", None), "_codegen", None)
    if isinstance(codegen, torch.fx.graph._PyTreeCodeGen):
        return "exported"
    return None
