"""Predictions of faults against runs with the words changed, by enumeration."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.predicted import fitted_curve
from torch import Tensor, nn

import stoic
from stoic.campaign.scores import scores_of
from stoic.cli import main
from stoic.criteria import Criterion, Top1Changed, Top1Wrong, TopKLost
from stoic.faults.space import fault_space
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program, Values
from stoic.network.subject import Inputs
from stoic.predicting import PredictSettings, predict
from stoic.records import open_run
from stoic.report.predicted import write_predicted_report
from stoic.sensitivity.chances import Curve, chances, reliability
from stoic.sensitivity.channels import channel_path
from stoic.sensitivity.hessian import hessian_traces
from stoic.sensitivity.joint import joint_table
from stoic.sensitivity.predicted import Look, predicted, predicted_faults
from stoic.sensitivity.rivals import rivals_of


class _Block(nn.Module):
    """Every kind of step that a channel is followed through, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.after = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(4, 4, 1, groups=2, bias=False)
        self.hidden = nn.Linear(16, 6)
        self.shift = nn.LayerNorm(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self.norm(self.conv(x)))
        y = self.pool(torch.relu(self.after(self.depth(y))))
        y = y + self.grouped(y)
        scores: Tensor = self.head(self.shift(torch.relu(self.hidden(y.flatten(1)))))
        return scores


@pytest.fixture(scope="module")
def subject() -> CapturedSubject:
    torch.manual_seed(3)
    network = _Block().eval()
    for part in (network.norm, network.after):
        for value, least in ((part.running_var, 0.5), (part.running_mean, -1.0)):
            assert value is not None
            nn.init.uniform_(value, least, 2)
        nn.init.normal_(part.bias)
    found = prepare(network, Inputs((torch.randn(3, 2, 8, 8),), {}))
    assert isinstance(found, CapturedSubject)
    return found


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs(
        (torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)),), {}
    )


def _run(program: Program, inputs: Inputs, name: str, tensor: Tensor) -> Values:
    """Run everything with one stored tensor replaced."""
    values = {**program.given(inputs.leaves), name: tensor}
    with torch.no_grad():
        for step in program.steps:
            values[step.name] = step(values.__getitem__)
    return values


def test_a_followed_channel_is_that_of_a_run_with_the_word_changed(
    subject: CapturedSubject, inputs: Inputs
) -> None:
    program = subject.program
    followed = 0
    for site in subject.sites:
        reached = channel_path(program, site.value)
        if reached is None:
            continue
        golden = _run(program, inputs, site.value, program.stored[site.value])
        flat = program.stored[site.value].detach().reshape(-1)
        places = torch.tensor([0, len(flat) // 2, len(flat) - 1])
        new = torch.stack([flat[places] * 3 + 1, flat[places] * -100], 1)
        with torch.no_grad():
            found = reached.channels(golden, places, new)
        for (w, place), b in itertools.product(enumerate(places), range(2)):
            tensor = flat.clone()
            tensor[place] = new[w, b]
            shape = program.stored[site.value].shape
            after = _run(program, inputs, site.value, tensor.reshape(shape))
            moved = after[reached.value].movedim(reached.dim, 0)
            channel = int(reached.channel(places)[w])
            torch.testing.assert_close(
                *(found[w, b], moved[channel]), rtol=1e-5, atol=1e-5, equal_nan=True
            )
            others = torch.arange(len(moved)) != channel
            before = golden[reached.value].movedim(reached.dim, 0)
            assert torch.equal(moved[others], before[others])
        followed += 1
    assert followed == 17


def _turned(
    program: Program, inputs: Inputs, criterion: Criterion, name: str, tensor: Tensor
) -> Tensor:
    labels = torch.zeros(inputs.count, dtype=torch.long)
    outputs = [
        program.answer(_run(program, inputs, name, words).__getitem__)
        for words in (program.stored[name], tensor)
    ]
    golden, faulty = map(scores_of, outputs)
    return criterion.failed(golden, faulty, labels)


@pytest.mark.parametrize(
    "criterion", [Top1Changed(), Top1Wrong(), TopKLost(2)], ids=str
)
def test_words_behind_which_all_is_linear_are_predicted_as_they_come_out(
    subject: CapturedSubject, inputs: Inputs, criterion: Criterion
) -> None:
    sites = [s for s in subject.sites if s.name.startswith("head.")]
    space = fault_space(sites, bits="20-31", inputs=3)
    steep = Curve(math.inf, 0.0, 1.0)
    labels = torch.zeros(3, dtype=torch.long)
    look = Look(subject.program, inputs, criterion, labels, curve=steep)
    faults = list(space)
    found = predicted_faults(look, faults)
    for fault, own in zip(faults, found, strict=True):
        tensor = subject.program.stored[fault.site.value].detach().clone()
        word = tensor.view(torch.int32).reshape(-1)
        flip = fault.corruption.flip
        word[fault.element] ^= flip - (1 << 32) if flip >> 31 else flip
        args = subject.program, inputs, criterion, fault.site.value, tensor
        expected = _turned(*args).double().numpy()
        assert own.round().tolist() == expected.tolist(), fault


def test_cells_are_the_mean_of_their_faults(
    subject: CapturedSubject, inputs: Inputs
) -> None:
    sites = [s for s in subject.sites if s.name in ("conv.weight", "shift.weight")]
    space = fault_space(sites, bits="18,19,20,30", inputs=3)
    look = Look(subject.program, inputs, Top1Changed(), words=1000)
    cells = {(c.site, c.bit): c for c in predicted(look, space).cells}
    for name, part in (
        space.by_bit().split(lambda b: f"{b.site.name} {b.bits[0]}").items()
    ):
        site, bit = name.split()
        mean = predicted_faults(look, list(part)).mean()
        assert cells[site, int(bit)].faults == part.size
        assert cells[site, int(bit)].chance == pytest.approx(mean, abs=0.02)


def test_what_has_no_way_of_its_own_drifts_by_its_slope(
    subject: CapturedSubject, inputs: Inputs
) -> None:
    name = next(s.value for s in subject.sites if s.name == "shift.weight")
    assert channel_path(subject.program, name) is None
    row, places = inputs.rows(0, 1), torch.tensor([1, 4])
    found = rivals_of(subject.program, row, Top1Changed(), (), 2, {name: places})
    step = 1e-3
    for w, place in enumerate(places):
        tensor = subject.program.stored[name].detach().clone()
        tensor[place] += step
        scores = [
            subject.program.answer(_run(subject.program, row, name, t).__getitem__)[0]
            for t in (subject.program.stored[name], tensor)
        ]
        order = scores[0].argsort(descending=True)
        before, after = (s[order[0]] - s[order[1:3]] for s in scores)
        lost = (before - after) / before / step
        torch.testing.assert_close(
            found.words[name][:, w].float(), lost, rtol=0.05, atol=0.05
        )


def test_classes_without_slopes_are_reckoned_with() -> None:
    chance = torch.Generator().manual_seed(0)
    losses = torch.randn(400, 100, generator=chance, dtype=torch.float64)
    leads = torch.linspace(0.5, 8, 100, dtype=torch.float64)
    steep = Curve(math.inf, 0.0, 1.0)
    some = list(range(0, 100, 5))
    others = leads[[n for n in range(100) if n not in some]]
    few = chances((losses / leads)[:, some], leads[some], others, 1, steep)
    turned = (losses > leads).any(1).double()
    assert float(few.mean()) == pytest.approx(float(turned.mean()), abs=0.06)


def test_a_curve_is_found_again() -> None:
    chance = np.random.default_rng(0)
    drift = np.exp(chance.normal(0, 1.5, 20000))
    curve = Curve(6.0, 0.5, 1.0)
    failed = chance.random(20000) < curve(torch.from_numpy(drift)).numpy()
    found = fitted_curve(drift, failed)
    assert found.steepness == pytest.approx(6, rel=0.1)
    assert found.shift == pytest.approx(0.5, abs=0.15)
    for point in reliability(found(torch.from_numpy(drift)).numpy(), failed):
        assert point.low - 0.03 <= point.predicted <= point.high + 0.03


def test_faults_in_computed_values_are_refused(
    subject: CapturedSubject, inputs: Inputs
) -> None:
    sites = [s for s in subject.sites if s.kind == "activation"][:1]
    space = fault_space(sites, inputs=3)
    with pytest.raises(ValueError, match="floating parameters"):
        predicted(Look(subject.program, inputs, Top1Changed()), space)


def test_what_cannot_be_predicted_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="rivals must be at least 1, got 0; choose"):
        PredictSettings(rivals=0)
    with pytest.raises(ValueError, match="words must be at least 1, got 0; choose"):
        PredictSettings(words=0)
    with pytest.raises(ValueError, match="probes must be at least 0, got -1; 0 leaves"):
        PredictSettings(probes=-1)
    case = stoic.load("digits", 40)
    assert isinstance(case.inputs, Tensor)
    case.inputs[37, 0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="must be finite.* for input 37; mend"):
        stoic.predict(case.network, case.inputs)


def _smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()


def test_traces_are_those_of_the_whole_hessian() -> None:
    network, x = _smooth(), torch.randn(6, 3, dtype=torch.float64)
    labels = torch.arange(6) % 3
    subject = prepare(network, Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    names = [s.value for s in subject.sites if s.kind == "parameter"]
    given = Inputs((x,), {})
    found = hessian_traces(subject.program, given, labels, names, probes=400)
    for name in names:
        origin = subject.program.origins[name][0].removeprefix("network.")
        tensor = subject.program.stored[name].detach()

        def loss(words: Tensor, origin: str = origin) -> Tensor:
            scores = torch.func.functional_call(network, {origin: words}, (x,))
            return nn.functional.cross_entropy(scores, labels)

        whole = torch.autograd.functional.hessian(loss, tensor)
        whole = whole.reshape(tensor.numel(), -1)
        trace, error = found[name].value, found[name].error
        assert error is not None
        assert abs(trace - whole.trace().item()) < 4 * error + 1e-9


def test_the_joint_table_ranks_layers_and_says_how_far_numbers_agree() -> None:
    columns = {
        "pvf": {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.5},
        "trace": {"a": 1.0, "b": 30.0, "c": 2.0, "d": 90.0},
        "norm": {"d": 1.0, "c": 2.0},
    }
    joint = joint_table(columns)
    assert joint.ranked("pvf") == ("d", "b", "c", "a")
    assert joint.ranked("norm") == ("c", "d")
    (only,) = joint.agreements()
    assert (only.first, only.second, only.layers) == ("pvf", "trace", 4)
    assert only.spearman == only.kendall == pytest.approx(1.0)


def test_predictions_stand_beside_what_was_measured_and_what_is_proved(
    tmp_path: Path,
) -> None:
    case = stoic.load("digits", 4)
    run = stoic.pvf(
        *(case.network, case.inputs),
        faults=None,
        out=tmp_path / "run",
        sites="head.*",
        bits="20,30",
    )
    found = stoic.predict(
        *(case.network, case.inputs),
        settings=PredictSettings(
            "head.*", "", "20,30", words=1000, probes=2, proofs=True
        ),
        measured=run.path,
        columns={"norm": {"head.weight": 2.0}},
    )
    assert len(found.rows) == 4
    for row in found.rows:
        assert (
            row.measured is not None and row.holds is not None and row.fails is not None
        )
        # Behind the last layer every verdict is proved, and the guess is as good.
        assert row.holds + row.fails == pytest.approx(1, abs=1e-3)
        assert row.fails == pytest.approx(row.measured, abs=1e-3)
        assert row.predicted == pytest.approx(row.measured, abs=0.02)
    # Every fault of the head was tried, on these inputs.
    assert sum(point.count for point in found.calibration) == 4 * 2 * 330
    turned = sum(point.measured * point.count for point in found.calibration)
    with open_run(run.path).connection() as tables:
        asked = tables.execute("SELECT count(*) FROM outcomes WHERE failed")
        assert turned == pytest.approx(asked.fetchall()[0][0])
    for point in found.calibration:
        assert point.low - 0.02 <= point.predicted <= point.high + 0.02
    page = write_predicted_report(found.as_record(), "digits", tmp_path / "page.html")
    assert "Calibration" in page.read_text()
    other = stoic.load("digits", 5)
    fewer = PredictSettings("head.bias", "", "30", probes=0)
    on_others = (other.network, other.inputs, None)
    assert not predict(*on_others, settings=fewer, measured=run.path).calibration
    with pytest.raises(ValueError, match="run of this network, got one of .*; give"):
        signs = stoic.load("signs", 2)
        predict(signs.network, signs.inputs, settings=fewer, measured=run.path)
    ranked = replace(fewer, criterion="top-k:2")
    with pytest.raises(ValueError, match="run that was measured, top1-changed, got to"):
        predict(case.network, case.inputs, settings=ranked, measured=run.path)
    record = json.loads(json.dumps(found.as_record()))
    assert record["columns"]["norm"] == [2.0, None]
    assert {"predicted PVF", "measured PVF", "Hessian trace"} <= {*record["columns"]}


def test_the_command_says_what_it_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "record.json"
    words = ["predict", "digits", "--inputs", "2", "--bits", "29-30", "--words", "8"]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "nothing was injected" in said and "Hessian trace" in said
    assert len(json.loads(out.read_text())["cells"]) == 16
    assert main(["predict", "scenes", "--inputs", "2"]) == 2
