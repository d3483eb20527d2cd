"""What a user can get wrong: one line that names the thing, the rule and the value.

Nothing is written and the network stays as it was.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stoic.campaign.checks import check_processor
from stoic.cli.commands import main
from stoic.criteria import Custom
from stoic.faults.models import RandomWord, SetValue
from stoic.network.patch import same_words
from stoic.network.subject import Inputs
from stoic.study import pvf


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def training() -> nn.Module:
    network = small()
    network[1].train()
    return network


def noisy() -> nn.Module:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    return nn.Sequential(small(), Noisy()).eval()


def dropping() -> nn.Module:
    class Dropping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    return nn.Sequential(small(), Dropping()).eval()


def broken() -> nn.Module:
    network = small()
    with torch.no_grad():
        network[2].get_parameter("bias")[1] = float("nan")
    return network


def expanded() -> nn.Module:
    network = small()
    network[0].weight = nn.Parameter(torch.randn(1, 4).expand(8, 4))
    return network


def meta() -> nn.Module:
    return small().to("meta")


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(3)).eval()


class Words(nn.Module):
    """Its output is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> str:
        x = x + self.shift
        return "left" if bool(x.sum() > 0) else "right"


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such table")


class Flat(nn.Module):
    """One number for all inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.shift).sum()


def points(count: int = 6) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1))


def labels(count: int = 6) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


NETWORKS: list[tuple[Any, list[str]]] = [
    (training, ["evaluation mode", "1 in training mode", "eval()"]),
    (noisy, ["network must be deterministic", "sampling"]),
    (dropping, ["network must be deterministic", "dropout"]),
    (broken, ["golden run must be finite", "NaN"]),
    (expanded, ["0.weight", "word of its own", "contiguous()"]),
    (meta, ["0.weight", "meta device"]),
    (lazy, ["0.weight", "lazy", "run the network once"]),
    (lambda: Words().eval(), ["tensor", "str"]),
    (lambda: Raising().eval(), ["network must run", "no such table"]),
    (lambda: Flat().eval(), ["2 or more classes", "()"]),
    (lambda: torch.sigmoid, ["network must be a torch module", "builtin"]),
]

SETTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"sites": "layer9.*"}, ["layer9.*"]),
    ({"sites": "0.weigth"}, ["0.weigth", "0.weight"]),
    ({"exclude": "1.*"}, ["1.*"]),
    ({"kinds": ("buffer",)}, ["sites of kind activation, input, parameter only"]),
    ({"kinds": ("weight",)}, ["kind", "parameter", "weight"]),
    ({"bits": "32"}, ["32", "31"]),
    ({"bits": "exponnent"}, ["exponnent", "exponent"]),
    ({"bits": ""}, ["bits"]),
    ({"bits": "9-3"}, ["9-3"]),
    ({"faults": 0}, ["faults", "at least 1", "0"]),
    ({"faults": -5}, ["faults", "at least 1", "-5"]),
    ({"faults": 2.5}, ["faults", "2.5"]),
    ({"faults": 10**9}, ["faults", "1000000000", "--exhaustive"]),
    ({"batch": 0}, ["batch", "0"]),
    ({"seed": "x"}, ["seed", "x"]),
    ({"mode": "quick"}, ["mode", "exact", "fast", "quick"]),
    ({"strata": "layer"}, ["strata", "layer"]),
    ({"strata": "site-bit"}, ["faults", "128", "one for each stratum", "5"]),
    ({"best": -1}, ["best", "-1"]),
    ({"limit_s": float("inf")}, ["time limit", "inf"]),
    ({"model": SetValue(1.0), "bits": "sign"}, ["bits", "all", "sign"]),
    ({"model": RandomWord(), "bits": "0-3"}, ["bits", "all", "0-3"]),
    ({"scope": "all"}, ["scope", "all"]),
    ({"limit_s": 0.0}, ["time limit", "0"]),
    ({"memory": 0}, ["memory", "0"]),
    ({"memory": 99}, ["memory must be at least 1M", "6 inputs", "99 bytes", "batch"]),
    ({"verify": -1}, ["verify", "-1"]),
    ({"criterion": "top1"}, ["top1", "top1-changed"]),
    ({"criterion": "top-k:9"}, ["9"]),
    ({"criterion": "top1-wrong"}, ["labels"]),
    ({"criterion": "threshold:x"}, ["threshold", "x"]),
    ({"labels": labels(5)}, ["labels", "5", "6"]),
    ({"labels": labels().float()}, ["labels", "float32"]),
    ({"labels": [0] * 6}, ["labels", "list"]),
    ({"labels": torch.zeros(6, 5, 5)}, ["labels", "one per input", "(6, 5, 5)"]),
    (
        {"labels": torch.zeros(5, 5, 5), "criterion": "detections-changed"},
        ["labels", "a row per input", "(5, 5, 5)", "6 inputs"],
    ),
    ({"clusters": labels(7)}, ["clusters", "7", "6"]),
    ({"inputs": points(0)}, ["inputs", "at least 1"]),
    ({"inputs": "photos"}, ["inputs", "str"]),
    ({"inputs": (points(6), points(5))}, ["inputs", "5", "6"]),
    ({"inputs": points().to("meta")}, ["inputs", "meta"]),
    ({"inputs": points()[:, :3]}, ["network must run", "shapes"]),
    ({"tail": lambda output: output["logits"]}, ["tail"]),
    ({"criterion": Custom(lambda *_: [True], name="mine")}, ["mine", "6"]),
    ({"sitez": "0.*"}, ["sitez"]),
    ({"replacement": True, "faults": None}, ["with replacement", "got every fault"]),
    ({"replacement": True, "strata": "bit"}, ["with replacement", "got strata bit"]),
    ({"allocation": {"0.weight": 3}}, ["allocation must be to strata, got strata no"]),
    (
        {"allocation": {"0.weight": 3}, "strata": "site", "faults": None},
        ["allocation must be to strata", "got every fault"],
    ),
    (
        {"allocation": {"0.weigth": 3}, "strata": "site"},
        ["allocation must name strata, got '0.weigth'", "near it: 0.weight"],
    ),
    (
        {"allocation": {"0.bias": 999}, "strata": "site"},
        ["allocation must be at most 256", "stratum 0.bias, got 999"],
    ),
    ({"allocation": {"0.bias": 0}, "strata": "site"}, ["at least 1 fault in all"]),
    ({"allocation": {"0.bias": -2}, "strata": "site"}, ["whole numbers", "-2"]),
    ({"allocation": 7, "strata": "site"}, ["by name of the stratum, got int"]),
    ({"about": "faults"}, ["about must be inputs or population", "faults"]),
    ({"about": "population"}, ["at least 30 clusters", "got 6", "these inputs only"]),
    (
        {
            "about": "population",
            "inputs": points(40),
            "clusters": torch.arange(40) // 2,
        },
        ["at least 30 clusters", "got 20"],
    ),
    (
        {"about": "population", "inputs": points(30), "strata": "site"},
        ["by uniform or by all trials, got strata, 4 of them"],
    ),
]


def named(value: Any) -> str:
    # Without addresses: the processes that share the tests must agree on names.
    return getattr(value, "__name__", None) or re.sub(r" at 0x\w+", "", str(value))[:40]


def refused(run: Callable[[Path], object], words: list[str], folder: Path) -> None:
    """It raises in one line with these words, and writes nothing."""
    with pytest.raises((ValueError, TypeError)) as error:
        run(folder / "run")

    said = str(error.value)
    assert "\n" not in said and len(said) < 400, said
    assert all(word in said for word in words), said
    assert not (folder / "run").exists()


@pytest.mark.parametrize(("build", "words"), NETWORKS, ids=named)
def test_a_network_that_cannot_be_measured(
    build: Callable[[], nn.Module], words: list[str], tmp_path: Path
) -> None:
    refused(lambda out: pvf(build(), points(), faults=5, out=out), words, tmp_path)


@pytest.mark.parametrize(("changes", "words"), SETTINGS, ids=named)
def test_a_setting_that_cannot_be(
    changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    network = small()
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    given: dict[str, Any] = {"inputs": points(), "faults": 5, **changes}

    refused(lambda out: pvf(network, out=out, **given), words, tmp_path)

    assert all(same_words(kept[n], value) for n, value in network.state_dict().items())


CASES = {
    "no_such_module:case": ["no_such_module", "ModuleNotFoundError"],
    "a_case:absent": ["absent", "a_case"],
    "a_case:unreadable": ["unreadable", "Weights only load failed", "line 6 of"],
    "a_case:three_numbers": ["three_numbers", "int"],
    "bad_syntax:case": ["bad_syntax", "SyntaxError"],
    "singns": ["singns", "signs"],
}
A_CASE = """
import torch
from torch import nn

def unreadable():
    return torch.load("weights.pt"), torch.randn(2, 4)

def three_numbers():
    return 3

def good():
    torch.manual_seed(0)
    return nn.Linear(4, 3).eval(), torch.randn(6, 4)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_case", raising=False)
    (tmp_path / "a_case.py").write_text(A_CASE)
    (tmp_path / "bad_syntax.py").write_text("def case(:\n")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bad.json").write_text("{weight: 1}")
    (tmp_path / "half.json").write_text('{"weight": 0.5}')
    (tmp_path / "weights.pt").write_bytes(b"no weights")
    return tmp_path


@pytest.mark.parametrize(("case", "words"), CASES.items(), ids=named)
def test_a_case_that_cannot_be_loaded(
    case: str, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_wrong_use(["pvf", case, "--out", "run"], words, capsys)
    assert not (here / "run").exists()


OPTIONS = {
    "--sites 9.*": ["9.*"],
    "--bits 32": ["32"],
    "--faults 0": ["faults", "0"],
    "--faults many": ["faults", "integer"],
    "--kind weight": ["weight"],
    "--mode quick": ["quick"],
    "--fault-model melt": ["melt", "flip"],
    "--fault-model flips:0": ["flips"],
    "--fault-model burst:40": ["model burst 40"],
    "--rate 2": ["rate", "2"],
    "--per-trial 0": ["count", "0"],
    "--per-trial 2 --exhaustive": ["several"],
    "--threads 0": ["threads", "0"],
    "--memory lots": ["memory", "lots", "500M"],
    "--memory 0": ["memory", "0"],
    "--memory inf": ["memory", "inf"],
    "--best -1": ["best", "-1"],
    "--fail-above 7": ["fail-above", "7"],
    "--device tpu": ["tpu"],
    "--inputs 0": ["inputs", "0"],
    "--inputs 600": ["600", "6"],
    "--frobnicate": ["--frobnicate"],
    "--time-limit -1": ["time limit", "-1"],
    "--table sites": ["table must be one of network,", "got 'sites'", "near it: site"],
    "--table bit,roll": ["got 'roll'", "near it: role"],
    "--table class": ["table class", "labels, got none; give"],
    "--table bit --fault-model flips:2": ["table bit", "multi-flip"],
    "--table site --per-trial 2": ["table site", "one fault per trial"],
    "--table changed": ["table changed", "flip"],
    "--replacement --exhaustive": ["with replacement", "every fault"],
    "--replacement --strata bit": ["with replacement", "strata bit"],
    "--allocation weight=3": ["allocation must be to strata", "strata none"],
    "--allocation wait=3 --strata site": ["got 'wait'", "near it: weight"],
    "--allocation weight --strata site": ["readable JSON file", "'weight' (No such"],
    "--allocation weight=x --strata site": ["NAME=COUNT", "got 'weight=x'"],
    "--allocation weight=1,weight=2 --strata site": ["once", "got 'weight=2'"],
    "--allocation weight=1,=2 --strata site": ["NAME=COUNT", "got '=2'"],
    "--allocation none.json --strata site": ["'none.json' (No such file"],
    "--allocation list.json --strata site": ["list.json must be an object", "list"],
    "--allocation bad.json --strata site": ["'bad.json' (", "line 1"],
    "--allocation half.json --strata site": ["whole numbers", "0.5 for 'weight'"],
    "--about population": ["at least 30 clusters", "got 6", "these inputs only"],
    "--about inputs --about popultion": ["popultion"],
    "--about population --table input": ["table input must be about these inputs"],
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.items(), ids=named)
def test_an_option_that_cannot_be(
    options: str, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pvf", "a_case:good", "--faults", "5", "--out", "run"]

    assert_wrong_use([*command, *options.split()], words, capsys)

    assert not (here / "run").exists()


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_folder_without_a_run_has_no_report(
    folder: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_wrong_use(["report", folder], [folder], capsys)


def test_a_run_folder_that_cannot_be_made(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pvf", "a_case:good", "--faults", "5", "--out", "a_case.py"]

    assert_wrong_use(command, ["a_case.py"], capsys)

    assert (here / "a_case.py").read_text() == A_CASE


def assert_wrong_use(
    command: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the words on stderr, no traceback, and nothing on stdout."""
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    told = [line for line in said.err.splitlines() if line.startswith("stoic: ")]
    # What the parser of options refuses comes in a box of its own.
    assert len(told) == 1 or "Usage" in said.err, said.err
    assert all(word in said.err for word in words), said.err


def test_what_lies_on_an_accelerator_is_not_predicted() -> None:
    given = Inputs((torch.ones(2, 4),), {})
    check_processor(small(), given)
    with pytest.raises(ValueError, match=r"on the processor, got meta; call \.cpu\(\)"):
        check_processor(meta(), given)
