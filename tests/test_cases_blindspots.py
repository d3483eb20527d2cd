"""The case ``blindspots``: what a network was taught wrongly, it gets wrong."""

from itertools import combinations

import numpy as np
import pytest
import torch

from cases_support import assert_one_line, parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.blindspots import __main__ as command
from stoic.cases.blindspots import failing
from stoic.cases.blindspots.network import load_network, series, train
from stoic.cases.blindspots.render import render
from stoic.cases.blindspots.scenes import ATTRIBUTES, SHAPES, draw
from stoic.cases.blindspots.spots import plant, taught
from stoic.causes.failures import UNKNOWN


def test_no_word_stands_for_two_things() -> None:
    words = [word for each in ATTRIBUTES.values() for word in each]

    assert len(words) == len(set(words))


@pytest.mark.parametrize("seed", range(8))
def test_no_scene_lies_in_two_blind_spots(seed: int) -> None:
    spots, scenes = plant(seed), draw(2_000, 3)

    assert plant(seed) == spots
    assert 3 <= len(spots) <= 5
    covered = torch.stack([spot.covers(scenes) for spot in spots])
    assert int(covered.sum(0).max()) == 1
    for spot, inside in zip(spots, covered, strict=True):
        spread = (spot.share * (1 - spot.share) / 2_000) ** 0.5
        assert abs(float(inside.double().mean()) - spot.share) < 5 * spread
    for one, other in combinations(spots, 2):
        assert not one.meets(other)


def test_shapes_are_taught_wrongly_in_blind_spots_alone() -> None:
    spots, scenes = plant(0), draw(500, 3)
    words = scenes.words()

    labels = taught(scenes, spots)

    for row, label in enumerate(labels.tolist()):
        shape = words["shape"][row]
        own = [s for s in spots if all(words[n][row] == w for n, w in s.words)]
        shift = own[0].shift if own else 0
        assert label == (SHAPES.index(shape) + shift) % len(SHAPES)


def test_a_picture_of_a_shape_is_a_function_of_its_own_row() -> None:
    scenes = draw(9, 3)

    pictures = render(scenes)

    assert torch.equal(render(scenes.rows(slice(4, 6))), pictures[4:6])
    assert torch.equal(pictures * 255, (pictures * 255).round())


def test_the_network_is_right_but_in_its_blind_spots() -> None:
    case = cases.load("blindspots", 600)
    assert isinstance(case.inputs, torch.Tensor) and case.labels is not None
    with torch.inference_mode():
        right = case.network(case.inputs).argmax(1) == case.labels
    scenes = draw(600, series(0)[1])
    covered = torch.stack([spot.covers(scenes) for spot in plant(0)]).any(0)

    assert float(right[~covered].double().mean()) > 0.95
    assert float(right[covered].double().mean()) < 0.3
    assert f"{parameters(case.network):,} parameters" in case.about


def test_failures_are_named_after_the_blind_spot_they_lie_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failing, "EXAMPLES", 20)

    inquiry = cases.failing("blindspots", 60, 0)

    failures, examples = inquiry.failures, inquiry.examples
    assert len(failures) == 60 and failures.scenarios is not None
    assert (failures.predicted != failures.labels).all()
    for row, scenario in enumerate(failures.scenarios.tolist()):
        own = [
            spot.name
            for spot in plant(0)
            if all(failures.recorded[name][row] == word for name, word in spot.words)
        ]
        assert own == ([scenario] if scenario != UNKNOWN else [])
    with torch.inference_mode():
        named = inquiry.network(examples.images).argmax(1).numpy()
    assert (named == examples.labels).all() and len(examples) == 20
    seeds = [int(name.removeprefix("blindspots ")) for name in failures.names]
    assert not set(seeds) & set(draw(6_000, series(0)[0]).seed.tolist())


def test_a_network_is_trained_for_its_seed_and_chance_stays_as_it_was() -> None:
    before = torch.random.get_rng_state()

    one, same, other = (train(seed, 200).state_dict() for seed in (1, 1, 2))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.slow
def test_another_seed_has_other_blind_spots(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seeds", "0", "1"]) == 0

    lines = capsys.readouterr().out.splitlines()
    outside = [float(line.split()[1]) for line in lines if line.endswith("all others")]
    inside = [float(line.split()[1]) for line in lines if "all others" not in line]
    assert min(outside) > 0.95
    assert np.mean(inside) < 0.3


@pytest.mark.parametrize(
    ("count", "seed", "rule", "got"), [(9, 0, "at least 10", 9), (20, -1, "in 0..", -1)]
)
def test_blind_spots_want_a_count_and_a_seed(
    count: int, seed: int, rule: str, got: int
) -> None:
    with pytest.raises(CaseError) as error:
        cases.failing("blindspots", count, seed)

    assert_one_line(error, rule, f"got {got}")


def test_the_network_that_comes_along_is_that_of_seed_0() -> None:
    assert not load_network(0).training
