"""Average growth of rounding against the law of a linear network, and against runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sensitivity_networks import captured
from stoic.network.subject import Inputs
from stoic.sensitivity.condition import condition
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.rounding import average_rounding, measured_rounding
from stoic.sensitivity.word_errors import word_errors

FORMATS = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", FORMATS)
def test_errors_add_up_as_their_squares(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(40, 30, bias=False), nn.Linear(30, 6, bias=False)
    network, x = nn.Sequential(first, last).eval(), torch.randn(5, 40).to(dtype).float()
    program = captured(network, x).program
    (scores,) = program.output_names

    found = average_rounding(program, [x], scores, dtype, probes=400)

    one, two = first.weight.double().detach(), last.weight.double().detach()
    off = [(w.to(dtype).double() - w).square() for w in (one, two)]
    hidden = x.double() @ one.T
    # A third: the mean square of what lies evenly between -1 and 1.
    steps = [
        torch.ldexp(
            torch.full_like(v, torch.finfo(dtype).eps / 2), v.frexp().exponent - 1
        )
        for v in (hidden, hidden @ two.T)
    ]
    after = x.double().square() @ off[0].T + steps[0].square() / 3
    whole = after @ two.square().T + hidden.square() @ off[1].T
    whole = (whole + steps[1].square() / 3).sum(1).sqrt()
    assert torch.allclose(found, whole, rtol=0.1)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_narrow_run_is_off_by_about_the_average(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(128, 10)).eval()
    x = torch.randn(64, 2, 10, 10).to(dtype)
    program = captured(network, x.float()).program
    (scores,) = program.output_names
    exact = copy.deepcopy(network).double()(x.double())
    narrow = copy.deepcopy(network).to(dtype)(x).double()
    measured = (narrow - exact).norm(dim=1).detach()

    own = measured_rounding(program, [x.float()], scores, dtype)
    assert torch.equal(own, (narrow - exact).norm(dim=1))
    average = average_rounding(program, [x.float()], scores, dtype)
    bound = condition(program, [x.float()], scores, Perturbation.of_format(dtype))

    assert 0.7 < (measured / average).median() < 1.4
    assert (measured <= bound.certified).all()


def test_wrong_words_do_what_the_derivative_says_in_the_worst_direction() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3)).double().eval()
    x = torch.randn(4, 3).double()
    program = captured(network, x).program
    (scores,) = program.output_names

    found = word_errors(program, Inputs((x,), {}), scores, 2.0**-20)

    words = [each.detach() for each in network.parameters()]
    names = [name for name, _ in network.named_parameters()]

    def moved(*errors: Tensor) -> Tensor:
        off = [w * (1 + e) for w, e in zip(words, errors, strict=True)]
        own = dict(zip(names, off, strict=True))
        given = torch.func.functional_call(network, own, (x,))
        assert isinstance(given, Tensor)
        return given

    still = tuple(torch.zeros_like(each) for each in words)
    parts = torch.autograd.functional.jacobian(moved, still)
    slopes = torch.cat([each.flatten(2) for each in parts], 2)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * slopes.shape[2])
    worst = (slopes @ signs.double().T).norm(dim=1).amax(1)
    assert (found.local <= worst * 1.0001).all()
    assert (found.local > 0.97 * worst).all()
    assert torch.allclose(found.average, slopes.flatten(1).norm(dim=1))
    assert torch.allclose(found.measured, found.local, rtol=1e-3)
    bound = condition(program, [x], scores, Perturbation(stored=2.0**-20))
    assert (found.measured * 2.0**-20 <= bound.certified).all()
