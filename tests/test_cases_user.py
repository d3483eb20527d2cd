"""Cases of the user's own, and what is wrong with some of them."""

import sys
from pathlib import Path

import pytest

from cases_support import assert_one_line
from stoic import cases
from stoic.cases import CaseError

USER_MODULE = """
import torch
from torch import nn
from stoic.cases import Case

network = nn.Linear(3, 2).eval()
inputs = torch.zeros(4, 3)
labels = torch.zeros(4, dtype=torch.long)

def whole(): return Case("mine", network, inputs, labels)
def pair(): return network, inputs
def triple(): return network, inputs, labels
def named(): return {"network": network, "inputs": {"x": inputs}, "labels": labels}
def several(): return network, (inputs, inputs)

def number(): return 7
def quadruple(): return network, inputs, labels, labels
def unnamed(): return {"model": network, "inputs": inputs}
def swapped(): return inputs, network
def listed(): return network, inputs, [0, 0, 0, 0]
def texts(): return network, ["a", "b"]
def short(): return network, inputs, labels[:3]
def ragged(): return network, (inputs, inputs[:2])
def empty(): return network, inputs[:0]
def judging(): return Case("mine", network, inputs, labels, criterion=max)
def raising(): raise RuntimeError("no\\nGPU")
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "stoic_user_case.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "stoic_user_case", raising=False)
    return "stoic_user_case"


@pytest.mark.parametrize("name", ["whole", "pair", "triple", "named", "several"])
def test_a_case_of_the_users_own_is_loaded(user_module: str, name: str) -> None:
    case = cases.load(f"{user_module}:{name}")

    assert case.name == ("mine" if name == "whole" else f"{user_module}:{name}")
    assert len(case) == 4
    assert (case.labels is None) is (name in ("pair", "several"))
    assert len(cases.load(f"{user_module}:{name}", inputs=2)) == 2


def test_a_case_is_loaded_from_its_file_wherever_that_lies(
    user_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "random.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(cases.load(f"../{user_module}.py:pair")) == 4
    with pytest.raises(CaseError) as error:
        cases.load(f"{tmp_path}/random.py:pair")
    assert_one_line(error, "must have a name of its own", "rename it")
    with pytest.raises(CaseError, match="module none must import"):
        cases.load("none.py:pair")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("number", ("must return a Case", "got int")),
        ("quadruple", ("must return a Case", "got a tuple of 4")),
        ("unnamed", ("got a dict with the keys model, inputs",)),
        ("swapped", ("network", "must be a Module", "got a Tensor")),
        ("listed", ("labels", "must be a Tensor", "got a list")),
        ("texts", ("inputs", "must be a tensor", "got a list")),
        ("short", ("labels", "each of the 4 inputs", "got shape (3,)")),
        ("ragged", ("same number of rows", "got [4, 2] rows")),
        ("empty", ("at least 1", "got [0] rows")),
        ("judging", ("criterion", "got a builtin", "stoic.criteria.Custom(...)")),
        ("raising", ("must return a case", "RuntimeError: no GPU")),
        ("pear", ("got 'pear'", "did you mean pair?")),
        ("inputs", ("got 'inputs'", "it has none like that")),
    ],
)
def test_a_bad_case_of_the_users_own_is_refused(
    user_module: str, name: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(CaseError) as error:
        cases.load(f"{user_module}:{name}")

    assert_one_line(error, user_module, *parts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_module_that_does_not_import_is_named_with_the_reason(
    user_module: str, content: str, reason: str
) -> None:
    Path("stoic_user_case.py").write_text(content)

    with pytest.raises(CaseError) as error:
        cases.load(f"{user_module}:make")

    assert_one_line(error, f"module {user_module} must import", reason)


@pytest.mark.parametrize("reference", [":make", "module:", ":"])
def test_a_reference_needs_a_module_and_a_function(reference: str) -> None:
    with pytest.raises(CaseError, match="must be 'module:function'"):
        cases.load_user(reference)
