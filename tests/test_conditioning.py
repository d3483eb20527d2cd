"""What a user asks about the sensitivity of a network, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stoic
from sensitivity_networks import MADE, WHOLE
from stoic.cli import main
from stoic.conditioning import condition


class Summing(nn.Module):
    """An operator that has no bound."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.cumprod(x, 1))
        return scores


def test_guarantees_are_above_all_that_was_measured() -> None:
    case = stoic.load("digits", 12)

    found = condition(case.network, case.inputs, radii=(2.0**-20, 0.02), words=0.01)

    assert [answer.name for answer in found.answers] == [
        *("inputs", "inputs", "words", "float32", "bfloat16", "float16")
    ]
    assert not any(gap.violations for each in found.tightness for gap in each.gaps)
    small = found.answers[0]
    # Where elements tie the derivative is a mean of two sides, and one of them steeper.
    strongest = float(found.tightness[0].strongest.median())
    assert 0.95 * strongest < _known(small.median("local")) < 1.02 * strongest
    for answer in found.answers:
        names = [claim.name for claim in answer.claims]
        bounds = [answer.median(n) for n in ("product", "interval", "linearised")]
        assert names[:4] == ["product", "interval", "linearised", "certified"]
        certified = _known(answer.median("certified"))
        assert certified <= min(map(_known, bounds))
        assert 0 < _known(answer.median("average")) < certified
        assert _known(answer.median("measured")) < certified
    assert [layer.name for layer in found.layers] == [
        "conv1",
        "conv2",
        "hidden",
        "head",
    ]
    assert found.forwards > 0


def test_a_recurrent_network_grows_by_less_than_its_guarantees() -> None:
    make, shape = MADE["recurrent"]
    torch.manual_seed(3)
    network, x = make().eval(), torch.randn(4, *shape)

    found = condition(network, x, radii=(2.0**-20, 0.01), formats=())

    assert not any(gap.violations for each in found.tightness for gap in each.gaps)
    assert len(found.tightness) == 2


def _known(value: float | None) -> float:
    assert value is not None
    return value


def test_batches_change_nothing() -> None:
    case = stoic.load("digits", 10)
    how: dict[str, Any] = {"radii": (1e-4,), "attacks": False, "formats": ("float32",)}

    whole = condition(case.network, case.inputs, batch=10, **how)
    parts = condition(case.network, case.inputs, batch=4, **how)

    for one, other in zip(whole.answers, parts.answers, strict=True):
        for a, b in zip(one.claims, other.claims, strict=True):
            assert torch.allclose(a.values, b.values, rtol=1e-6), a.name


def test_a_box_is_no_worse_than_the_ball_about_it() -> None:
    case = stoic.load("digits", 6)
    how: dict[str, Any] = {
        "radii": (1e-4,),
        "attacks": False,
        "formats": (),
        "words": 0.0,
    }

    ball = condition(case.network, case.inputs, norm=2, **how).answers[0]
    box = condition(case.network, case.inputs, norm=math.inf, **how).answers[0]

    assert _known(box.median("certified")) <= _known(ball.median("certified"))


def test_an_operator_without_a_bound_leaves_local_numbers() -> None:
    torch.manual_seed(0)
    network, x = Summing().eval(), torch.rand(5, 6) + 0.5
    with pytest.raises(ValueError, match=r"cumprod.*local numbers only"):
        condition(network, x)

    found = condition(network, x, local_only=True, radii=(1e-5,))

    answer, words, *formats = found.answers
    for each in (answer, words):
        assert [claim.label for claim in each.claims] == ["local", "average"]
    assert [each.claims for each in formats] == [()] * 3
    assert all(each.median("measured") for each in formats)
    strongest = found.tightness[0].strongest
    assert answer.median("local") == pytest.approx(float(strongest.median()), rel=0.02)


def test_a_text_is_perturbed_at_what_its_embedding_makes_of_it() -> None:
    torch.manual_seed(0)
    network, ids = WHOLE["bags"]().eval(), torch.randint(0, 9, (6, 5))
    with pytest.raises(
        ValueError, match=r"got whole ones; choose .* as getitem, embed"
    ):
        condition(network, ids)

    found = condition(network, ids, beginning_at="cat", radii=(1e-6, 0.1), batch=4)
    slow = condition(Rest(network).eval(), _joined(network, ids), radii=(1e-6, 0.1))

    assert not any(gap.violations for each in found.tightness for gap in each.gaps)
    for answer, other in zip(found.answers, slow.answers, strict=True):
        assert answer.name == other.name
        if answer.name == "inputs":
            assert _known(answer.median("certified")) == pytest.approx(
                _known(other.median("certified")), rel=1e-4
            )


class Rest(nn.Module):
    """What comes after the tables."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.last = network.last

    def forward(self, both: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.tanh(both))
        return scores


def _joined(network: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.bag(ids), network.table(ids[:, 0])], 1)


def test_attacks_begin_at_a_value_that_an_operator_keeps_for_its_way_back() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).eval()
    x = torch.randn(3, 3)

    found = condition(network, x, beginning_at="linear", radii=(1e-6,), formats=())

    assert not any(gap.violations for each in found.tightness for gap in each.gaps)


def test_the_command_begins_at_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sensitivity", "digits", "--inputs", "4", "--formats", ""]
    words += ["--radius", "1e-5"]
    assert main([*words, "--beginning-at", "relu", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["beginning_at"] == "relu"
    assert "conv1" not in [layer["name"] for layer in record["layers"]]
    (growth,) = record["tightness"]
    assert not any(gap["violations"] for gap in growth["gaps"])

    assert main([*words, "--beginning-at", "nothing"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "must be a value of floating-point numbers, got 'nothing'; choose" in told[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"formats": ("int8",)}, "formats must be among float32, bfloat16, float16"),
        ({"radii": ()}, "radius must be positive and finite, got none"),
        ({"radii": (0.0,)}, "radius must be positive and finite, got 0; choose"),
        ({"radii": (math.nan,)}, "radius must be positive and finite, got nan; choose"),
        ({"norm": 1}, "norm must be 2 or inf, got 1; 2 is"),
        ({"seed": -1}, "seed must be at least 0, got -1; choose"),
        ({"words": -0.1}, "words must be finite and >= 0"),
        ({"batch": 0}, "batch must be at least 1, got 0; choose"),
    ],
)
def test_what_is_no_setting_is_refused(words: dict[str, Any], told: str) -> None:
    case = stoic.load("digits", 4)
    with pytest.raises(ValueError, match=told):
        condition(case.network, case.inputs, **words)


@pytest.mark.parametrize("how", [{"attacks": False}, {"local_only": True}])
def test_the_input_that_gives_no_numbers_is_named(how: dict[str, Any]) -> None:
    case = stoic.load("digits", 8)
    assert isinstance(case.inputs, Tensor)
    broken = case.inputs.clone()
    broken[6, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="others in .* for input 6; mend"):
        condition(case.network, broken, batch=4, **how)


def test_an_output_that_is_no_scores_is_refused() -> None:
    network = nn.Conv2d(1, 2, 3).eval()
    with pytest.raises(ValueError, match=r"output must be scores.*; wrap the network"):
        condition(network, torch.randn(2, 1, 5, 5))


def test_the_network_is_left_as_it_was() -> None:
    case = stoic.load("digits", 4)
    before = {name: each.clone() for name, each in case.network.state_dict().items()}
    condition(case.network, case.inputs, radii=(1e-4,), attacks=False)
    for name, each in case.network.state_dict().items():
        assert torch.equal(each, before[name])
    assert all(each.grad is None for each in case.network.parameters())


def test_the_command_prints_tables_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    words = ["sensitivity", "digits", "--inputs", "4", "--radius", "1e-5"]

    assert main([*words, "--out", str(page)]) == 0
    told = capsys.readouterr().out
    assert "linearised" in told
    assert "conv2" in told
    text = page.read_text()
    assert all(name in text for name in ("conv1", "linearised", "guarantee"))

    assert main([*words, "--no-attacks", "--json"]) == 0
    out = capsys.readouterr().out
    record = json.loads(out, parse_constant=pytest.fail)
    assert record["answers"][0]["name"] == "inputs"
    assert record["tightness"] == []


def test_what_is_infinite_is_nothing_in_a_record() -> None:
    torch.manual_seed(0)
    layers, last = [nn.Linear(8, 8) for _ in range(3)], nn.Linear(8, 3)
    network = nn.Sequential(nn.Linear(4, 8), *layers, last).eval().double()
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(1e30)

    x = torch.rand(3, 4).double()
    found = condition(network, x, radii=(1e-5,), norm=math.inf, attacks=False)

    text = json.dumps(found.as_record(), allow_nan=False)
    assert json.loads(text)["answers"][0]["claims"][0]["values"] == [None] * 3


def test_scores_of_nothing_have_no_relative_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faint.py").write_text(
        "import torch\n"
        "class Faint(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x[:, :2] * x[:, 2:]\n"
        "def some():\n"
        "    x = torch.tensor([[1, 2, 3], [1, 2, 1e-41], [1, 2, 0]])\n"
        "    return Faint().eval(), x, None\n"
        "def none():\n"
        "    network, x, labels = some()\n"
        "    return network, x[1:], labels\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--radius", "1e-5", "--formats", "bfloat16"]

    assert main(["sensitivity", "faint:some", *words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert record["undefined"] == [1, 2]
    for answer in record["answers"]:
        for claim in answer["claims"]:
            assert claim["values"][0] is not None, answer
            assert claim["values"][1:] == [None, None]
    assert main(["sensitivity", "faint:some", *words]) == 0
    assert "2 of 3 inputs are all 0" in capsys.readouterr().out

    assert main(["sensitivity", "faint:none", *words]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "got scores that are all 0 or denormal for each of 2 inputs" in told


def test_inputs_that_overflow_in_a_format_have_no_numbers_of_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    x[1] *= 1e6

    found = condition(nn.Linear(4, 2).eval(), x, formats=("float16",), words=0)

    _, _, _, rounded = found.answers
    for name, _, values in rounded.numbers()[-2:]:
        assert values.isnan().tolist() == [False, True, False], name


def test_a_network_that_does_nothing_moves_as_its_inputs_do() -> None:
    found = condition(nn.Identity().eval(), torch.rand(2, 3), radii=(0.01,))
    assert found.answers[0].median("certified") == pytest.approx(1, rel=1e-3)


def test_the_command_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", "digits", "--inputs", "4", "--norm", "3"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "stoic: norm must be 2 or inf, got '3'; 2 is a ball, inf a box"
    ]


def test_a_part_that_is_none_is_refused_by_the_name_of_its_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bits", "digits", "--inputs", "4", "--narrow", "value"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("stoic: narrow must be one of weights, values, both")
