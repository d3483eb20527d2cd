"""Bit widths: noise, sweep, proof and allocation against slow, obvious restatements."""

import copy
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import stoic
from stoic.campaign.fingerprint import network_fingerprint
from stoic.cases import Case, load
from stoic.cli.commands import app
from stoic.sensitivity.assignment import CANDIDATES, assign, cheapest, named_budget
from stoic.sensitivity.eight import by_torchao
from stoic.sensitivity.golden import Scored, score_inputs
from stoic.sensitivity.keeping import (
    kept_chance,
    kept_share,
    least_width,
    likely_width,
    losses,
)
from stoic.sensitivity.noise import Noise, Shift, measure_noise, probes_of
from stoic.sensitivity.provable import proved_shares, weight_errors
from stoic.sensitivity.quantised import IntegerFormat, named_family
from stoic.sensitivity.sweep import narrow_scores, uniform
from stoic.study import as_inputs, ready


def scored_of(network: nn.Module, inputs: Tensor) -> Scored:
    given = as_inputs(inputs)
    return score_inputs(ready(network, given), given, lambda output: output, 16)


@pytest.fixture(scope="module")
def digits() -> Case:
    return load("digits", 60)


@pytest.fixture(scope="module")
def scored(digits: Case) -> Scored:
    return scored_of(digits.network, images(digits))


@pytest.fixture(scope="module")
def noise(scored: Scored) -> Noise:
    family, widths = named_family("int")
    return measure_noise(scored, family, widths, 60, 0)


def images(case: Case) -> Tensor:
    assert isinstance(case.inputs, Tensor)
    return case.inputs


def of_layer(network: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    found = network.get_submodule(name)
    assert isinstance(found, nn.Conv2d | nn.Linear)
    return found


def gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_layers_are_products_with_stored_weights(digits: Case, scored: Scored) -> None:
    assert [layer.name for layer in scored.layers] == [
        "conv1",
        "conv2",
        "hidden",
        "head",
    ]
    for layer in scored.layers:
        weight = of_layer(digits.network, layer.name).weight
        assert layer.words == weight.numel()
    # An 8×8 image, 8 filters of 9 words; 4×4 after the pool; then a number for each.
    macs = [64 * 8 * 9, 16 * 16 * 72, 64 * 32, 320]
    assert [layer.macs for layer in scored.layers] == macs


@pytest.mark.parametrize("parts", ["weights", "values", "both"])
@pytest.mark.parametrize("name", ["int4", "e4m3"])
def test_a_narrow_run_is_that_of_a_network_with_rounded_words(
    digits: Case, scored: Scored, parts: str, name: str
) -> None:
    family, (width,) = named_family(name)
    format = family(width)
    network = copy.deepcopy(digits.network)
    for layer in scored.layers:
        module = of_layer(network, layer.name)
        grid = format.of_values(*scored.ranges[layer.name])
        if parts != "weights":
            module.register_forward_pre_hook(lambda m, args, grid=grid: grid(args[0]))
        if parts != "values":
            with torch.no_grad():
                module.weight.copy_(format.of_weights(module.weight)(module.weight))
    before = network_fingerprint(digits.network)

    found = narrow_scores(
        scored, {layer.name: format for layer in scored.layers}, parts
    )

    with torch.inference_mode():
        own = torch.cat([network(part) for part in images(digits).split(16)])
    assert torch.equal(found, own)
    assert network_fingerprint(digits.network) == before


def test_noise_is_the_sum_of_squared_error_times_squared_slope(
    digits: Case, scored: Scored, noise: Noise
) -> None:
    network = copy.deepcopy(digits.network).requires_grad_()
    seen: dict[str, Tensor] = {}
    for layer in scored.layers:

        def keep(module: nn.Module, args: Any, name: str = layer.name) -> Any:
            seen[name] = args[0].clone() if args[0].requires_grad else args[0]
            seen[name].requires_grad_()
            seen[name].retain_grad()
            return (seen[name],)

        of_layer(network, layer.name).register_forward_pre_hook(keep)
    for place in (0, 7):
        number = int(noise.probes[place])
        for rival in range(2):
            scores = network(images(digits)[number : number + 1].clone())[0]
            order = scores.argsort(descending=True)
            network.zero_grad()
            (scores[order[0]] - scores[order[rival + 1]]).backward()
            for row, layer in enumerate(scored.layers):
                weight = of_layer(network, layer.name).weight
                error = IntegerFormat(5).of_weights(weight)(weight.detach()) - weight
                exact = float(
                    (error * gradient(weight)).detach().double().square().sum()
                )
                ours = float(noise.weights[row, 3, place, rival])
                assert ours == pytest.approx(exact, rel=1e-3)
                moved = float((error * gradient(weight)).detach().double().sum())
                ours = float(noise.known[row, 3, place, rival])
                assert ours == pytest.approx(moved, rel=1e-3, abs=1e-6)
                value = seen[layer.name]
                grid = IntegerFormat(5).of_values(*scored.ranges[layer.name])
                error = grid(value.detach()) - value
                exact = float(
                    (error * gradient(value)).detach().double().square().sum()
                )
                ours = float(noise.values[row, 3, place, rival])
                assert ours == pytest.approx(exact, rel=1e-3, abs=1e-12)


def test_kept_decisions_are_those_that_lead_in_the_normal_law(noise: Noise) -> None:
    shift = noise.uniform("both")
    order = {int(n): place for place, n in enumerate(noise.probes)}
    chances = []
    for number, leads in enumerate(noise.leads.tolist()):
        known = noise.known[:, 1, order[number]].sum(0).tolist()
        deviations = noise.values[:, 1, order[number]].sum(0).sqrt().tolist()
        each = [
            (1 + math.erf((lead + moved) / dev / math.sqrt(2))) / 2
            for lead, moved, dev in zip(leads, known, deviations, strict=True)
        ]
        chances.append(math.prod(each))

    share = float(kept_share(noise, shift)[1])

    assert share == pytest.approx(sum(chances) / len(chances), rel=1e-6)
    # The chance of few changes by enumeration: 1 of 60 may change.
    none = math.prod(chances)
    one = sum(none / stays * (1 - stays) for stays in chances)
    few = float(kept_chance(noise, shift, 0.98)[1])
    assert few == pytest.approx(none + one, rel=1e-6)


def test_a_lead_of_nothing_stays_where_nothing_moves(noise: Noise) -> None:
    level = replace(noise, leads=torch.zeros_like(noise.leads))
    still = torch.zeros_like(noise.known.sum(0))

    assert torch.equal(kept_share(level, Shift(still, still)), torch.ones(len(still)))
    moving = kept_share(level, Shift(still, still + 1))
    assert torch.equal(moving, torch.full((len(still),), 0.125).to(moving))


def test_known_errors_of_weights_tell_which_decisions_change(scored: Scored) -> None:
    family, widths = named_family("int")
    noise = measure_noise(scored, family, widths[3:], 60, 0)
    moved = noise.leads[noise.probes] + noise.uniform("weights").known
    stays = (moved > 0).all(-1)

    for place, width in enumerate(noise.widths):
        scores = narrow_scores(scored, uniform(scored, family(width)), "weights")
        same = scores.argmax(1) == scored.scores.argmax(1)
        # To first order: a lead that is left with nearly nothing may go either way.
        wrong = int((same[noise.probes] != stays[place]).sum())
        assert wrong <= (1 if width < 7 else 0)


def test_mixed_widths_shift_leads_by_the_sum_of_their_layers(noise: Noise) -> None:
    places = [2, 0, 1, 3]

    found = noise.mixed("both", places)

    for ours, layers in ((found.known, noise.known), (found.variance, noise.values)):
        exact = sum(layer[at] for layer, at in zip(layers, places, strict=True))
        torch.testing.assert_close(ours, exact)
    alike = noise.mixed("weights", [2] * 4)
    torch.testing.assert_close(alike.known, noise.uniform("weights").known[2])
    assert not alike.variance.any()


def test_inputs_that_nobody_asked_have_the_mean_noise_of_those_drawn_by_lot(
    scored: Scored, noise: Noise
) -> None:
    family, widths = named_family("int4")
    few = measure_noise(scored, family, widths, 20, 3)
    assert sorted(set(few.probes.tolist())) == sorted(few.probes.tolist())
    near = noise.leads[:, 0].argsort()[:10]
    assert set(near.tolist()) <= set(few.probes.tolist())
    whole = measure_noise(scored, family, widths, 60, 3)

    ours = float(kept_share(few, few.uniform("both"))[0])
    exact = float(kept_share(whole, whole.uniform("both"))[0])

    assert ours == pytest.approx(exact, abs=0.01)


def test_probes_are_all_inputs_where_there_are_few() -> None:
    leads = torch.tensor([[3.0], [1.0], [2.0]])

    assert probes_of(leads, 5, 0).tolist() == [1, 2, 0]


def test_losses_are_the_slope_of_the_decisions_lost(noise: Noise) -> None:
    at = noise.weights[:, 2].sum(0)
    parts = noise.weights[:, 2]
    by = 1e-4

    def share(variance: Tensor) -> Tensor:
        return kept_share(noise, Shift(torch.zeros_like(variance), variance))

    found = losses(noise, at, parts)

    for row, part in enumerate(parts):
        before, after = (share(at + s * by * part) for s in (-1, 1))
        slope = float(before - after) * len(noise.leads) / (2 * by)
        assert float(found[row]) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize(
    ("shares", "least"),
    [([0.1, 0.99, 1.0], 3), ([0.995, 0.98, 1.0], 4), ([1, 1, 1], 2), ([1, 1, 0], None)],
)
def test_the_least_width_is_one_from_which_on_all_keep_enough(
    shares: list[float], least: int | None
) -> None:
    assert least_width([2, 3, 4], shares, 0.99) == least


def test_a_likely_width_is_likely_with_all_that_are_wider() -> None:
    assert likely_width([2, 3, 4, 5], [0.9, 0.6, 0.9, 0.95]) == 3
    assert likely_width([2, 3], [1.0, 0.4]) is None


@pytest.mark.parametrize("parts", ["weights", "values", "both"])
def test_the_predicted_width_is_the_measured_one_give_or_take_one(
    parts: str,
) -> None:
    case = load("digits", 300)

    found = stoic.bits(case.network, case.inputs, case.labels, parts=parts)

    assert found.predicted is not None and found.measured is not None
    assert abs(found.predicted - found.measured) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_the_programme_finds_what_trying_every_choice_finds(seed: int) -> None:
    chance = np.random.default_rng(seed)
    loss, cost = chance.random((4, 3)) * 1e-9, chance.random((4, 3)) * 1e6
    limit = float(np.quantile(cost.sum(0), 0.5))
    tried = {
        pick: (loss[range(4), pick].sum(), cost[range(4), pick].sum())
        for pick in itertools.product(range(3), repeat=4)
    }
    best = min(value for value, paid in tried.values() if paid <= limit)

    pick = tuple(cheapest(loss, cost, limit))

    assert tried[pick][1] <= limit * (1 + 1e-9)
    assert tried[pick][0] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "text"), [("bytes", "15%"), ("bytes", "2kB"), ("bit-operations", "2%")]
)
def test_an_assignment_meets_its_budget_and_beats_the_uniform_width(
    scored: Scored, noise: Noise, kind: str, text: str
) -> None:
    budget = named_budget(kind, text, scored.layers, "both")

    found = assign(noise, scored.layers, budget, "both")

    paid = sum(
        layer.words * found.widths[layer.name] / 8
        if kind == "bytes"
        else layer.macs * found.widths[layer.name] ** 2
        for layer in scored.layers
    )
    assert paid == found.cost <= budget.limit
    assert set(found.widths.values()) <= set(CANDIDATES)
    assert found.uniform_kept is not None
    assert found.kept >= found.uniform_kept


def test_budgets_are_shares_of_the_own_format_or_numbers(scored: Scored) -> None:
    words = sum(layer.words for layer in scored.layers)

    assert named_budget("bytes", "50%", scored.layers, "weights").limit == 2 * words
    assert named_budget("bytes", "2kB", scored.layers, "weights").limit == 2000
    assert named_budget("bit-operations", "3e6", scored.layers, "both").limit == 3e6


@pytest.mark.parametrize("text", ["-5%", "0", "much", "nan%", "1.2.3kB", ""])
def test_a_budget_that_is_none_is_refused(scored: Scored, text: str) -> None:
    with pytest.raises(ValueError, match=r"budget must be such as .*; choose"):
        named_budget("bytes", text, scored.layers, "weights")


class OneLinear:
    """A flawless bound for a single linear layer: errors times sizes of inputs."""

    def __init__(self, scored: Scored) -> None:
        (inputs,) = (x.double().abs() for x in scored.inputs.leaves)
        best = scored.scores.double().topk(2).values
        self.sizes, self.leads = inputs, best[:, 0] - best[:, 1]

    def __call__(
        self, errors: Mapping[str, Tensor], grids: Mapping[str, Any]
    ) -> Tensor:
        (error,) = errors.values()
        # Two scores may move apart, and sums in float32 are off by a little.
        each = self.sizes @ (error.T + 1e-6)
        kept: Tensor = 2 * each.amax(1) < self.leads
        return kept


def one_linear() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(20, 5).eval(), torch.randn(40, 20)


def test_no_decision_changes_at_a_width_that_is_proved() -> None:
    network, inputs = one_linear()
    case = scored_of(network, inputs)
    family, _ = named_family("int")

    found = proved_shares(case, family, range(2, 25), OneLinear(case), 1.0)

    enough = [width for width, share in found.items() if share == 1]
    for width in range(min(enough), 25):
        (layer,) = case.layers
        narrow = narrow_scores(case, {layer.name: family(width)}, "weights")
        assert torch.equal(narrow.argmax(1), case.decisions)
    # Halving finds the width that trying all of them finds.
    every = {
        width: bool(OneLinear(case)(weight_errors(case, family(width)), {}).all())
        for width in range(2, 25)
    }
    assert min(enough) == min(width for width, proved in every.items() if proved)


def test_the_provable_width_is_never_below_the_measured_one() -> None:
    network, inputs = one_linear()

    found = stoic.bits(network, inputs, keep=1.0, proof=OneLinear, prove=40)

    assert found.provable is not None and found.measured is not None
    assert found.provable >= found.measured
    assert found.silent == ""


def test_a_width_beyond_the_own_format_is_no_statement() -> None:
    network, inputs = one_linear()

    def nothing(scored: Scored) -> Any:
        assert len(scored.scores) == scored.inputs.count == 7
        return lambda errors, grids: torch.zeros(7, dtype=torch.bool)

    found = stoic.bits(network, inputs, proof=nothing, prove=7)

    assert found.provable is None
    assert found.silent == "no width of the network's own format suffices"
    alone = stoic.bits(network, inputs, proof=nothing, prove=7, format="e4m3")
    assert alone.silent == "e4m3 does not suffice"


def test_errors_of_weights_hold_for_every_word(scored: Scored) -> None:
    found = weight_errors(scored, IntegerFormat(3))

    for layer in scored.layers:
        weight = scored.program.stored[layer.weight].detach()
        off = (IntegerFormat(3).of_weights(weight)(weight) - weight).abs().max()
        assert found[layer.weight].shape == weight.shape
        assert float(off) <= float(found[layer.weight].max())


def test_labels_give_the_accuracy_at_each_width(digits: Case) -> None:
    found = stoic.bits(digits.network, digits.inputs, digits.labels, format="int2")

    narrow = copy.deepcopy(digits.network)
    with torch.no_grad():
        for name, weight in narrow.named_parameters():
            if name.endswith("weight") and weight.dim() > 1:
                weight.copy_(IntegerFormat(2).of_weights(weight)(weight))
        right = [
            (each(digits.inputs).argmax(1) == digits.labels).double().mean().item()
            for each in (digits.network, narrow)
        ]
    (row,) = found.rows
    assert row.measured is not None
    assert [found.accuracy, row.measured.accuracy] == pytest.approx(right)
    assert right[0] != right[1]
    assert json.loads(json.dumps(found.as_record()))["rows"][0]["width"] == 2


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"budget": "1%"}, "budget must be at least 898 bytes for the narrowest"),
        ({"budget": "9%", "budget_bops": "9%"}, "got both"),
        ({"budget": "200%"}, "budget must be at most 100 %, got '200%'; that is"),
        ({"budget_bops": "101%"}, "budget must be at most 100 %, got '101%'; that"),
        ({"keep": 1.5}, "keep must be above 0 and at most 100 %, got 1.5; choose"),
        ({"prove": -1}, "prove must be at least 0, got -1; 0 leaves"),
        ({"seed": -1}, "seed must be at least 0, got -1; choose"),
        ({"parts": "bias"}, "parts must be one of weights, values, both"),
        ({"format": "posit8"}, "format must be int"),
        ({"probes": 1}, "probes must be at least 2"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    digits: Case, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError, match=line) as error:
        stoic.bits(digits.network, digits.inputs, **changes)
    assert "\n" not in str(error.value)


def test_an_input_whose_golden_run_is_not_finite_is_named() -> None:
    network, inputs = one_linear()
    inputs[7] = 1e38

    with pytest.raises(ValueError, match=r"NaN or Inf.* for input 7"):
        stoic.bits(network, inputs * 10)


def test_a_network_without_layers_has_nothing_to_make_narrower() -> None:
    with pytest.raises(ValueError, match="must have a layer with a stored weight"):
        stoic.bits(nn.Softmax(1).eval(), torch.randn(4, 3))


def test_torchao_runs_linear_layers_and_leaves_convolutions(
    digits: Case, scored: Scored
) -> None:
    pytest.importorskip("torchao")

    found = by_torchao(digits.network, scored, lambda output: output)

    assert found.layers == ("hidden", "head")
    assert found.left_out == ("conv1", "conv2")
    assert found.kept.value >= 0.95
    assert found.same >= 0.95


def test_the_command_prints_widths_and_the_budget(tmp_path: Any) -> None:
    command = ["bits", "digits", "--inputs", "50", "--budget", "20%"]

    text = CliRunner().invoke(app, [*command, "--keep", "95%"])
    data = CliRunner().invoke(app, [*command, "--no-check", "--json"])

    assert text.exit_code == data.exit_code == 0
    assert "keeps 95 % of 50 decisions" in text.stdout
    assert "uniform, 6 bits" in text.stdout
    assert "3,592 of 3,658 stored words" in text.stdout
    record = json.loads(data.stdout)
    assert record["settings"]["keep"] == 0.99
    assert set(record["assigned"]["plan"]["widths"]) == {
        *("conv1", "conv2", "hidden", "head")
    }


def test_the_command_refuses_a_budget_that_nothing_meets() -> None:
    found = CliRunner().invoke(app, ["bits", "digits", "--budget", "1%"])

    assert found.exit_code == 2
    assert "stoic: budget must be at least 898 bytes" in found.stderr
