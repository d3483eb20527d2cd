"""What a monitor learns and is tried on is what was asked for."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stoic.cli import main
from stoic.criteria import Top1Wrong, TopKLost
from stoic.monitoring import (
    Fitted,
    MonitorSettings,
    Trying,
    fit,
    fit_checksums,
    seen_by,
)
from stoic.monitors.corruptions import BY_NAME, Pixels
from stoic.monitors.division import Division
from stoic.monitors.scorecard import scorecard
from stoic.monitors.traces import MEMORY, NOTHING
from stoic.study import as_inputs

COUNT = 160


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)]
    return nn.Sequential(*layers).eval()


def images(count: int = COUNT, seed: int = 1) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 8, generator=chance)


@lru_cache
def fitted(*kinds: str, faults: tuple[str, ...] = ("flip",)) -> Fitted:
    how: dict[str, Any] = {"rate": 0.05, "most": 1, "features": 2, "alpha": 1e-3}
    return fit(network(), images(), kinds=kinds, faults=faults, **how)


def test_a_monitor_learns_the_kinds_and_faults_it_is_told_to() -> None:
    found = fitted(MEMORY, "specks", "noise", faults=("flip", "flips:2"))

    assert found.monitor.rules.classes == ("regular", MEMORY, "noise", "specks")
    origin = found.lesson.origin
    assert set(origin.kind) == {NOTHING, MEMORY, "noise", "specks"}
    assert set(origin.bits[origin.kind == MEMORY]) == {1, 2}
    assert found.monitor.about["faults"] == ["flip", "flips:2"]


def test_what_was_not_learnt_is_tried_as_kinds_of_its_own() -> None:
    monitor = fitted(MEMORY, "specks", "noise", faults=("flip", "flips:2")).monitor

    origin = seen_by(monitor, network(), images(40, 2), first=COUNT).origin

    bits = {MEMORY: 1, "memory flips:2": 2, "memory burst:4": 4}
    assert set(origin.kind) == {NOTHING, *bits, *BY_NAME}
    for kind, several in bits.items():
        assert set(origin.bits[origin.kind == kind]) == {several}
    # The same single flips, whatever else is tried.
    only = Trying(kinds=(MEMORY,), faults=("flip",))
    alone = seen_by(monitor, network(), images(40, 2), first=COUNT, trying=only).origin
    assert set(alone.kind) == {NOTHING, MEMORY, "memory flips:2", "noise", "specks"}
    for own in ("site", "element", "bit"):
        one, other = (
            getattr(o, own)[o.kind == MEMORY].tolist() for o in (origin, alone)
        )
        assert one == other


def test_strengths_that_nobody_fitted_are_found_by_inputs_that_are_not_tried() -> None:
    monitor = fitted(MEMORY, "specks", "noise", faults=("flip", "flips:2")).monitor
    given, told = images(200, 3), list[str]()
    trying = Trying(kinds=("blur",), faults=("random",), shares=(0.2, 0.6))

    origin = seen_by(
        monitor, network(), given, first=COUNT, trying=trying, notice=told.append
    ).origin

    assert len(np.unique(origin.image)) == 190 and origin.image.min() == COUNT + 10
    assert "memory random" in origin.kind
    known = {(name, strength) for name, strength, _ in monitor.about["corruptions"]}
    own = as_inputs(given).picked(torch.from_numpy(Division(200, 1).order[:10]))
    pixels = Pixels.of_record(monitor.about["pixels"])
    spoilt = np.isin(origin.kind, ["specks", "noise", "blur"])
    columns = (origin.kind, origin.strength, origin.share)
    keys = zip(*(column[spoilt] for column in columns), strict=True)
    found = sorted(set(keys))
    assert len(found) == len(told) and {kind for kind, *_ in found} <= set(BY_NAME)
    assert {(kind, strength) for kind, strength, _ in found} - known
    for kind, strength, share in found:
        spoiled = pixels.on(own, BY_NAME[kind], float(strength), 1)
        changed = network()(*spoiled.args).argmax(1) != network()(*own.args).argmax(1)
        assert float(changed.double().mean()) == share


def test_memory_can_be_left_out_of_a_lesson() -> None:
    monitor = fitted("noise", "specks").monitor
    traces = seen_by(monitor, network(), images(60, 2), first=COUNT)

    card = scorecard(monitor, traces, draws=10)

    assert monitor.rules.classes == ("regular", "noise", "specks")
    assert [each.name for each in card.levels["together"][1].classes] == ["input"]
    names = [line.name for line in card.kinds]
    assert names == sorted([*BY_NAME, MEMORY, "memory flips:2", "memory burst:4"])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"kinds": (MEMORY, "fog")}, "kinds must be known, got 'fog'; choose among"),
        ({"kinds": ()}, "kinds must be at least 1, got none; choose among"),
        ({"faults": ("flips",)}, "faults must be known: .* got 'flips'; write"),
        ({"shares": (0.5, 1.5)}, "strengths must be above 0 and at most 1, got 1.5;"),
        ({"shares": (0.5, 0.5)}, "strengths must be named once each, got 0.5,0.5;"),
        ({"shares": (0.01,)}, "inputs must be at least 2000 where .* got 40; give"),
    ],
)
def test_what_a_monitor_cannot_be_tried_on_is_refused_in_one_line(
    how: dict[str, Any], line: str
) -> None:
    monitor = fitted("noise", "specks").monitor

    with pytest.raises(ValueError, match=line):
        seen_by(monitor, network(), images(40), first=COUNT, trying=Trying(**how))


def test_a_monitor_is_judged_by_the_criterion_that_it_was_fitted_with() -> None:
    monitor = fitted("noise", "specks").monitor

    with pytest.raises(ValueError, match="own, top1-changed, got top-k:2; give"):
        settings = MonitorSettings(criterion=TopKLost(2))
        seen_by(monitor, network(), images(40), first=COUNT, settings=settings)
    with pytest.raises(ValueError, match="must do without labels.*got top1-wrong; "):
        fit(network(), images(), criterion=Top1Wrong())


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["--kinds", "noise,fog"], "stoic: kinds must be known, got 'fog'; choose"),
        (["--kinds", "blur,blur"], "stoic: kinds must be named once each, got 'blur'"),
        (["--kinds", ""], "stoic: kinds must be at least 1, got none; choose among"),
        (["--fault", "flips"], "stoic: faults must be known: fault model must be"),
        (["--kinds", "blur", "--fault", "burst:2"], "stoic: faults must be left out"),
        (["--marker", "checksums", "--kinds", "blur"], "stoic: kinds must be left out"),
        (["--inputs", "20"], "stoic: a false alarm rate of 0.01 needs at least 99 .*"),
    ],
)
def test_the_command_refuses_wrong_kinds_in_one_line(
    wrong: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["monitor", "fit", "digits", *wrong, "--out", str(tmp_path / "m.json")])

    said = capsys.readouterr().err.strip()
    assert code == 2 and len(said.splitlines()) == 1
    assert said.startswith(line.removesuffix(" .*"))


class Attention(nn.Module):
    """Looks at five tokens, where a mask lets it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.mix, self.head = nn.Linear(6, 18), nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.mix(x).chunk(3, -1)
        seen = (query @ key.mT + mask).softmax(-1) @ value
        return torch.as_tensor(self.head(seen.mean(1)))


def test_masks_of_attention_may_hide_and_data_may_not() -> None:
    own, mask = Attention().eval(), torch.zeros(80, 5, 5)
    tokens = torch.randn(80, 5, 6)
    mask[::2, :, 3:] = -torch.inf
    how: dict[str, Any] = {"rate": 0.05, "most": 1, "features": 1, "alpha": 1e-3}

    found = fit(own, (tokens, mask), **how)

    assert found.monitor.rules.classes == ("regular", MEMORY)
    blind = mask.clone()
    blind[[6, 9]] = -torch.inf
    with pytest.raises(ValueError, match="masks must leave outputs finite.*input 6 "):
        fit(own, (tokens, blind), **how)
    with pytest.raises(ValueError, match="masks must leave outputs finite.*input 86 "):
        seen_by(found.monitor, own, (tokens, blind), first=80)
    with pytest.raises(ValueError, match="masks must leave outputs finite.*input 6 "):
        fit_checksums(own, (tokens, blind), rate=0.05)
    spoilt = tokens.clone()
    spoilt[4, 1, 1] = -torch.inf
    for wrong in ((spoilt, mask), (tokens, mask.masked_fill(mask < 0, torch.nan))):
        with pytest.raises(ValueError, match="inputs must be finite, got NaN or inf"):
            fit(own, wrong, **how)


def test_images_that_cannot_be_corrupted_have_a_monitor_of_memory() -> None:
    """One never changes in a channel; one is bytes, which the network scales itself."""
    opaque = images(60).index_fill(1, torch.tensor([2]), 1.0)
    scaled = nn.Sequential(Scaled(), *network().children())
    bytes_of = (255 * images(60)).to(torch.uint8)
    how: dict[str, Any] = {"rate": 0.1, "most": 1, "features": 1, "alpha": 1e-3}
    told: list[str] = []

    plain = fit(network(), opaque, kinds=(MEMORY,), **how).monitor
    own = fit(scaled.eval(), bytes_of, notice=told.append, **how).monitor

    assert plain.about["pixels"] is None is own.about["pixels"]
    assert plain.rules.classes == own.rules.classes == ("regular", MEMORY)
    assert any(line.startswith("no input is an image of floats") for line in told)
    with pytest.raises(ValueError, match="got a channel of 1 only; .*--kinds memory"):
        fit(network(), opaque, **how)


class Scaled(nn.Module):
    """Bytes as numbers up to 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 255


def test_few_inputs_have_more_faults_each_and_carry_no_claim() -> None:
    told: list[str] = []

    found = fit(network(), images(24), rate=0.2, most=1, notice=told.append)

    assert any(line.startswith("24 inputs are few: ") for line in told)
    origin = found.lesson.origin
    own = len(np.unique(origin.image))
    # Of 24 inputs, four are for strengths, and what is left of the first half to learn.
    assert own == 9
    assert (origin.kind == MEMORY).sum() == own * 12 * round(200 / own)
