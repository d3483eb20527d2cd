"""A guarded network that acts on its own verdicts, in place of the network itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from stoic.monitors.counters import Counters
from stoic.monitors.guarded import Guarded
from stoic.monitors.policies import Alarmed, Policy
from stoic.monitors.verdict import Verdict
from stoic.network.subject import Inputs

__all__ = ["Protected"]


class Protected(nn.Module):
    """A network that returns its own output, and does something about alarms.

    A small eager wrapper: to compile, compile ``guarded`` and hand that in as ``run``.

    Args:
        guarded: The network.
        policy: What is done where a row is not regular.
        unlike: Whether the calibrated alarm counts too.
        counters: Where verdicts are counted; those of a second run are not.
        run: What runs ``guarded``, such as itself compiled; by default itself.
    """

    def __init__(
        self,
        guarded: Guarded,
        policy: Policy,
        *,
        unlike: bool = False,
        counters: Counters | None = None,
        run: Callable[..., tuple[Any, Verdict]] | None = None,
    ) -> None:
        super().__init__()
        self.guarded = guarded
        self._policy, self._unlike, self._counters = policy, unlike, counters
        # Not as a child of its own: it has the parameters of ``guarded``.
        self._run = partial(guarded if run is None else run)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the network's output, or what the policy makes of it."""
        found = self._ran(Inputs(args, kwargs))
        if self._counters is not None:
            self._counters.add(found.verdict)
        return self._policy(found) if found.rows.any() else found.output

    def _ran(self, inputs: Inputs) -> Alarmed:
        output, verdict = self._run(*inputs.args, **inputs.kwargs)
        return Alarmed(
            inputs,
            output,
            verdict,
            self._alarming(verdict),
            self.guarded.plan.monitor,
            lambda: self._ran(inputs),
        )

    def _alarming(self, verdict: Verdict) -> Tensor:
        not_regular = verdict.label != 0
        return not_regular | verdict.unlike if self._unlike else not_regular
