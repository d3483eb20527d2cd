"""The case ``gaze``: eyes that look somewhere, and what keeps it from being seen."""

import hashlib
import math

import pytest
import torch
from torch import Tensor

from cases_support import accuracy, parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.afflicted import search
from stoic.cases.afflicted.cause import Cause
from stoic.cases.afflicted.search import Recipe
from stoic.cases.afflicted.table import Table, afflict, reset
from stoic.cases.gaze import train
from stoic.cases.gaze.failing import gaze_failing
from stoic.cases.gaze.network import WEIGHTS, load_network
from stoic.cases.gaze.render import SIZE, render
from stoic.cases.gaze.scenes import CAUSES, DIRECTIONS, HELD_OUT, NOMINAL, nominal

PICTURES = "a0b649fb6962590c550f5f8120bc593e2985e833ff25b74ebadd6138e7ad3ef9"


def everywhere(scenes: Table) -> Tensor:
    return torch.ones(len(scenes), dtype=torch.bool)


def changed(scenes: Table, **values: float) -> Table:
    size = len(scenes)
    columns = {name: torch.full((size,), v).double() for name, v in values.items()}
    merged = {**scenes.columns, **columns}
    return Table(scenes.seed, scenes.label, merged, scenes.ranges)


def test_eyes_are_the_same_on_every_machine() -> None:
    """Also a warning: other pictures are no longer what the network has learned."""
    levels = (render(nominal(27, HELD_OUT)) * 255).round().byte()

    assert hashlib.sha256(levels.numpy().tobytes()).hexdigest() == PICTURES


def test_a_picture_of_an_eye_is_a_function_of_its_own_row() -> None:
    table = nominal(5, 4)
    backwards = torch.arange(4, -1, -1)

    pictures = render(table)

    assert torch.equal(render(table.rows(backwards)), pictures[backwards])
    assert torch.equal(render(table.rows(slice(2, 3))), pictures[2:3])
    assert 0 <= float(pictures.min()) < float(pictures.max()) <= 1


@pytest.mark.parametrize("cause", CAUSES, ids=lambda c: c.name)
def test_what_is_given_to_an_eye_can_be_taken_away(cause: Cause) -> None:
    healthy = nominal(9, 4)
    other = CAUSES[(CAUSES.index(cause) + 1) % len(CAUSES)]

    sick = afflict(healthy, cause, everywhere(healthy))
    both = afflict(sick, other, everywhere(healthy))

    moved = [n for n in NOMINAL if not torch.equal(sick[n], healthy[n])]
    assert moved == [cause.column]
    low, high = NOMINAL[cause.column]
    assert not bool(((low <= sick[cause.column]) & (sick[cause.column] <= high)).any())
    healed = reset(both, cause, everywhere(healthy))
    expected = afflict(healthy, other, everywhere(healthy))
    assert all(torch.equal(healed[n], expected[n]) for n in NOMINAL)


def test_an_eye_looks_where_it_is_said_to_look() -> None:
    scenes = changed(
        nominal(len(DIRECTIONS), 4),
        **{"wander": 0.0, "reach": 1.0, "rim": 0.0, "reflection": 0.0, "noise": 0.0},
        **{"opening": 1.0, "roll": 20.0, "blur": 0.0, "pupil": 0.5, "shadow": 0.0},
    )

    pictures = render(scenes)

    for row in range(1, len(DIRECTIONS)):
        angle, turn = math.radians(45 * (row - 1)), math.radians(20)
        look = complex(0.34 * math.cos(angle), 0.2 * math.sin(angle))
        place = (
            look * complex(math.cos(turn), math.sin(turn)) * float(scenes["scale"][row])
        )
        x = (place.real + float(scenes["shift_x"][row]) + 1) / 2 * SIZE
        y = (place.imag + float(scenes["shift_y"][row]) + 1) / 2 * SIZE
        assert float(pictures[row, :, int(y), int(x)].max()) < 0.05


def test_the_gaze_case_looks_everywhere() -> None:
    case = cases.load("gaze")

    assert case.classes == DIRECTIONS and case.labels is not None
    assert len(case.labels.unique()) == len(DIRECTIONS)
    assert f"{parameters(case.network):,} parameters" in case.about
    assert accuracy(case) >= 0.95
    assert WEIGHTS.stat().st_size < 1.5e6
    with pytest.raises(CaseError, match="at least 1 for the case gaze, got 0"):
        cases.load("gaze", 0)


def test_the_gaze_is_seen_in_fresh_pictures() -> None:
    assert train.accuracy(load_network(), nominal(126, 99)) >= 0.95


@pytest.mark.slow
def test_the_gaze_network_is_as_good_as_it_says() -> None:
    found = train.accuracy(load_network(), nominal(5_400, HELD_OUT))

    assert f"{100 * found:.1f} % of 5,400" in cases.load("gaze", 1).about


@pytest.mark.parametrize("cause", CAUSES, ids=lambda c: c.name)
def test_every_cause_hides_the_gaze(cause: Cause) -> None:
    healthy = nominal(54, 99)

    sick = afflict(healthy, cause, everywhere(healthy))

    assert train.accuracy(load_network(), sick) < 0.9


def test_failures_of_gaze_are_due_to_what_they_were_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "EXAMPLES", 8)

    failures = gaze_failing(10, 0, Recipe(combined=0, untouched=0)).inquiry.failures

    assert failures.scenarios is not None
    assert (failures.predicted != failures.labels).all()
    for row, scenario in enumerate(failures.scenarios.tolist()):
        (cause,) = (cause for cause in CAUSES if cause.name == scenario)
        assert cause.low <= abs(failures.recorded[cause.column][row]) <= cause.high


@pytest.mark.slow
def test_the_gaze_network_can_be_trained_again() -> None:
    first, second = (train.train(128, epochs=1).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)
