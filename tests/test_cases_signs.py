"""The case ``signs``: what is in the pictures, how they are taken, who reads them."""

import hashlib
import math
import zlib
from dataclasses import replace

import pytest
import torch

from cases_support import accuracy, parameters
from stoic import cases
from stoic.cases import CaseError, chance
from stoic.cases.signs import scenes, train
from stoic.cases.signs.art import SIGNS, load_art
from stoic.cases.signs.network import load_network
from stoic.cases.signs.render import _on_sign, render
from stoic.cases.signs.scenes import CAUSES, Cause, Scenes, afflict, nominal, reset

PICTURES = "fcbf1ae24ed760956b99df3a8192ff084921fb104167cf31b3e8887223973d86"


def splitmix(word: int) -> int:
    """The output function of SplitMix64, in integers without end."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


def words(seed: int, name: str, count: int) -> list[int]:
    key = splitmix(seed ^ zlib.crc32(name.encode()))
    steps = (number * 0x9E3779B97F4A7C15 for number in range(1, count + 1))
    return [splitmix((key + step) % 2**64) for step in steps]


def test_uniform_numbers_are_as_defined() -> None:
    seeds = torch.tensor([0, 1, 2**63 - 1])

    drawn = chance.uniform(seeds, "roll", 5)

    for seed, row in zip(seeds.tolist(), drawn.tolist(), strict=True):
        assert row == [(word >> 11) / 2**53 for word in words(seed, "roll", 5)]


def test_bell_shaped_numbers_are_as_defined() -> None:
    (row,) = chance.bell(torch.tensor([7]), "noise", 4).tolist()

    for drawn, word in zip(row, words(7, "noise", 4), strict=True):
        parts = [(word >> shift & 0xFFFF) + 0.5 for shift in (0, 16, 32, 48)]
        centred = sum(parts) / 2**16 - 2
        assert drawn == pytest.approx(centred * math.sqrt(3), abs=1e-12)


def test_bell_shaped_numbers_have_mean_zero_and_variance_one() -> None:
    drawn = chance.bell(torch.tensor([0]), "noise", 100_000)

    # Within five standard errors.
    assert abs(float(drawn.mean())) < 5 / math.sqrt(100_000)
    assert abs(float(drawn.var()) - 1) < 5 * math.sqrt(2 / 100_000)


def test_there_are_44_different_signs() -> None:
    art = load_art()

    assert len(SIGNS) == len({sign.name for sign in SIGNS}) == 44
    assert len({hashlib.sha256(each.numpy().tobytes()).digest() for each in art}) == 44
    visible = art[:, 3].mean(dim=(1, 2))
    assert float(visible.min()) > 0.3
    assert bool((art[:, :3] <= art[:, 3:]).all())


def test_nominal_scenes_stay_in_their_ranges() -> None:
    table = nominal(1000, seed=4).columns()

    for name, (low, high) in scenes.NOMINAL.items():
        width = high - low
        assert low <= float(table[name].min()) < low + 0.05 * width
        assert high - 0.05 * width < float(table[name].max()) < high


def assert_same(one: Scenes, other: Scenes, but: str = "") -> None:
    others = other.columns()
    for name, column in one.columns().items():
        assert torch.equal(column, others[name]) is (name != but)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda c: c.name)
def test_a_cause_changes_its_own_parameter_alone(cause: Cause) -> None:
    healthy = nominal(44, seed=4)

    sick = afflict(healthy, cause)

    assert_same(sick, healthy, but=cause.column)
    size = sick.columns()[cause.column].abs()
    assert cause.low <= float(size.min()) < float(size.max()) < cause.high


@pytest.mark.parametrize("cause", CAUSES, ids=lambda c: c.name)
def test_a_reset_takes_one_cause_away_and_no_other(cause: Cause) -> None:
    healthy = nominal(10, seed=4)
    other = CAUSES[(CAUSES.index(cause) + 1) % len(CAUSES)]
    both = afflict(afflict(healthy, cause), other)

    cured = reset(both, cause)

    assert_same(cured, afflict(healthy, other))
    assert_same(reset(cured, other), healthy)
    assert torch.equal(render(cured), render(afflict(healthy, other)))


def test_causes_reach_only_the_images_they_are_given_to() -> None:
    healthy, dark = nominal(6, seed=4), CAUSES[2]
    where = torch.arange(6) % 2 == 0

    sick = afflict(healthy, dark, where)

    changed = (render(sick) != render(healthy)).flatten(1).any(1)
    assert torch.equal(changed, where)
    assert_same(reset(sick, dark, where), healthy)
    assert_same(reset(sick, dark, ~where), sick)


def test_a_picture_is_a_function_of_its_own_row() -> None:
    table = nominal(6, seed=4)
    backwards = torch.arange(5, -1, -1)

    pictures = render(table)

    assert torch.equal(render(table), pictures)
    assert torch.equal(render(table.rows(backwards)), pictures[backwards])
    assert torch.equal(render(table.rows(slice(2, 3))), pictures[2:3])
    assert torch.equal(render(nominal(3, seed=4)), pictures[:3])


def test_pictures_are_the_same_on_every_machine() -> None:
    """Also a warning: other pictures are no longer what the network has learned."""
    levels = (render(nominal(64, seed=scenes.HELD_OUT)) * 255).round().byte()

    digest = hashlib.sha256(levels.numpy().tobytes()).hexdigest()

    assert digest == PICTURES


def test_pictures_have_256_levels() -> None:
    levels = render(nominal(3, seed=4)) * 255

    assert torch.equal(levels, levels.round())
    assert 0 <= float(levels.min()) < float(levels.max()) <= 255


def test_the_camera_is_a_pinhole() -> None:
    table = nominal(1, seed=4)
    table = replace(table, yaw=table.yaw + 40, roll=table.roll + 30)
    size = 480

    (places,) = _on_sign(table, size)

    for u, v in [(0.0, 0.0), (0.7, -0.4), (-0.5, 0.6)]:
        x, y = projected(u, v, **{k: c.item() for k, c in table.columns().items()})
        column, row = (int((each + 1) / 2 * size) for each in (x, y))
        assert places[row, column].tolist() == pytest.approx([u, v], abs=6 / size)


def projected(u: float, v: float, **scene: float) -> tuple[float, float]:
    """Follow a place of the sign through roll, pitch and yaw into the picture."""
    roll, pitch, yaw = (math.radians(scene[n]) for n in ("roll", "pitch", "yaw"))
    right = u * math.cos(roll) - v * math.sin(roll)
    down = u * math.sin(roll) + v * math.cos(roll)
    down, away = down * math.cos(pitch), down * math.sin(pitch)
    right, away = (
        right * math.cos(yaw) + away * math.sin(yaw),
        away * math.cos(yaw) - right * math.sin(yaw),
    )
    distance = 2.5 / scene["scale"]
    magnified = 2.5 / (distance + away)
    x = (right + scene["shift_x"] / scene["scale"]) * magnified
    y = (down + scene["shift_y"] / scene["scale"]) * magnified
    return x, y


def test_light_and_lens_do_what_they_are_named() -> None:
    table = nominal(2, seed=4)
    zero, one = torch.zeros(2).double(), torch.ones(2).double()
    still = replace(table, noise=zero, glare=zero, blur=zero)

    black = render(replace(still, gain=zero))
    white = render(replace(still, glare=one))
    covered = render(replace(still, occlusion=4 * one))
    blurred = render(replace(still, gain=one / 2, blur=2 * one))

    assert not black.any()
    assert bool((white == 1).all())
    other_signs = replace(still, occlusion=4 * one, sign=table.sign + 5)
    assert torch.equal(covered, render(other_signs))
    sharp = render(replace(still, gain=one / 2))
    assert bool((blurred.var(dim=(2, 3)) < sharp.var(dim=(2, 3))).all())
    assert float(blurred.mean() - sharp.mean()) == pytest.approx(0, abs=0.02)


def test_the_sign_case_shows_every_sign() -> None:
    case = cases.load("signs")

    assert case.classes is not None and len(case.classes) == 44
    assert case.labels is not None and len(case.labels.unique()) == 44
    assert case.clusters is not None
    assert torch.equal(case.clusters, case.labels)
    assert f"{parameters(case.network):,} parameters" in case.about
    assert accuracy(case) >= 0.97


def test_a_sign_case_has_at_least_one_input() -> None:
    with pytest.raises(CaseError, match="at least 1 for the case signs, got 0"):
        cases.load("signs", 0)


def test_the_sign_network_reads_fresh_pictures() -> None:
    assert train.accuracy(load_network(), nominal(440, seed=99)) >= 0.97


@pytest.mark.parametrize("cause", CAUSES, ids=lambda c: c.name)
def test_every_cause_makes_the_sign_network_fail(cause: Cause) -> None:
    sick = afflict(nominal(88, seed=99), cause)

    assert train.accuracy(load_network(), sick) < 0.85


def test_training_is_reproducible() -> None:
    first, second = (train.train(256, epochs=1).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)
