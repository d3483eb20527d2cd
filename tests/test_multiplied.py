"""Scores of words without a gradient: by what the words are multiplied by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import quantised
from stoic.campaign.facts import Judge
from stoic.campaign.looking import looked_at
from stoic.campaign.trials import Bay
from stoic.criteria import Top1Changed
from stoic.faults.space import fault_space
from stoic.network.captured import CapturedSubject
from stoic.network.multiplied import multiplied
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.population import making
from stoic.study import pvf


class Whole(nn.Module):
    """Whole numbers as weights of every product that is known."""

    conv: Tensor
    line: Tensor
    swapped: Tensor
    alone: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        for name, shape in {
            "conv": (4, 2, 2, 2),
            "line": (3, 16),
            "swapped": (3, 2),
            "alone": (2,),
        }.items():
            words = torch.randint(-128, 128, shape, dtype=torch.int8)
            self.register_buffer(name, words)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.conv.to(x.dtype) / 90, groups=2).relu()
        z = F.linear(y.flatten(1), self.line.float() * 0.01)
        out: Tensor = z @ self.swapped.float() + self.alone.float()
        return out


def test_factors_are_mean_sizes_of_what_each_word_meets() -> None:
    """Restated with every other value by hand."""
    network = Whole().eval()
    x = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    program = subject.program
    values = program.run([x])
    found = {
        names[0]: multiplied(program, values, name)
        for name, names in program.origins.items()
    }

    y = F.conv2d(x, network.conv.float() / 90, groups=2).relu().flatten(1)
    z = F.linear(y, network.line.float() * 0.01)
    conv, line, swapped = (found[name] for name in ("conv", "line", "swapped"))
    assert conv is not None and line is not None and swapped is not None
    for out in range(4):
        for channel in range(2):
            met = x[:, out // 2 * 2 + channel].abs().mean()
            assert conv[out, channel].flatten().tolist() == pytest.approx(
                [float(met)] * 4
            )
    for feature in range(16):
        assert line[:, feature].tolist() == pytest.approx(
            [float(y[:, feature].mean())] * 3
        )
    for feature in range(3):
        size = float(z[:, feature].abs().mean())
        assert swapped[feature].tolist() == pytest.approx([size] * 2)
    assert found["alone"] is None


def top_share(failed: set[Any], network: nn.Module, x: Tensor, part: float) -> float:
    """The share of failures among the units of the highest bins, of all units."""
    inputs = Inputs((x,), {})
    subject = prepare(network, inputs)
    sites = [site for site in subject.sites if site.name.endswith("weight")]
    bay = Bay(subject, inputs, None, 1, Judge(Top1Changed(), None))
    population = looked_at(bay, fault_space(sites, inputs=len(x)))
    fails: list[bool] = []
    order = sorted(enumerate(population.open), key=lambda pair: -pair[1].hint)
    for number, cell in order:
        units = population.units([(number, p) for p in range(cell.units)])
        faults = [(u.fault.site.name, u.fault, u.row) for u in units]
        fails += [
            (n, f.element, f.corruption.bit, row) in failed for n, f, row in faults
        ]
    return sum(fails[: int(part * len(fails))]) / sum(fails)


def test_whole_numbers_are_told_apart_better_by_what_they_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = quantised().network
    # Features of unlike sizes, as they mostly are.
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(2))
    x = x * torch.tensor([0.01, 0.1, 0.3, 1.0, 2.0, 4.0])
    run = pvf(network, x, sites="*.weight", kinds=("buffer",), faults=None, batch=1)
    with run.run.connection() as connection:
        rows = connection.execute(
            "SELECT site, element, bit, o.input FROM outcomes o JOIN faults f "
            "USING (trial) WHERE failed"
        ).fetchall()
    failed = set(rows)
    assert len(failed) > 50

    with_inputs = top_share(failed, network, x, 0.1)
    monkeypatch.setattr(making, "multiplied", lambda *_: None)
    by_words = top_share(failed, network, x, 0.1)

    assert with_inputs > 1.15 * by_words > 0.5
