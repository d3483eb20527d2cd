"""The case ``scenes``: pictures, boxes, detections, and how good the network is."""

import hashlib
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cases_support import parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.scenes import layout, train
from stoic.cases.scenes.detect import DETECTIONS, decode, detect, middles
from stoic.cases.scenes.layout import MOST, SIZE, Scenes, draw, truth
from stoic.cases.scenes.network import CELL, build_network, load_network
from stoic.cases.scenes.precision import mean_average_precision
from stoic.cases.scenes.render import WINDOW, _corners, _painted, render
from stoic.cases.signs.art import SIGNS
from stoic.criteria import named_criterion

PICTURES = "b8b346d41d8b2ea6c388630ec3dac2755223d4dbb505dc7b3603a1b58c676ef9"
CELLS = SIZE // CELL

Row = Sequence[float]

# --- Pictures and boxes ---------------------------------------------------------------


def test_a_scene_is_the_same_alone_and_in_a_batch() -> None:
    few, many = draw(3, seed=4), draw(40, seed=4)

    pictures = render(many)

    assert torch.equal(render(many), pictures)
    assert torch.equal(render(few), pictures[:3])
    assert torch.equal(truth(few), truth(many)[:3])
    (last,) = list(many.split(38))[1:]
    assert torch.equal(render(last), pictures[38:])
    assert torch.equal(truth(last), truth(many)[38:])


def test_scenes_are_the_same_on_every_machine() -> None:
    """Also a warning: other pictures are no longer what the network has learned."""
    levels = render(draw(32, seed=layout.HELD_OUT)) * 255

    assert torch.equal(levels, levels.round())
    assert 0 <= float(levels.min()) < float(levels.max()) <= 255
    digest = hashlib.sha256(levels.round().byte().numpy().tobytes()).hexdigest()
    assert digest == PICTURES


def test_scenes_hold_one_to_five_signs_of_all_kinds() -> None:
    labels = truth(draw(500, seed=4))

    there = labels[..., 4] >= 0
    assert there.sum(1).unique().tolist() == [1, 2, 3, 4, 5]
    assert labels[..., 4].unique().tolist() == [-1, *range(len(SIGNS))]
    boxes = labels[there]
    assert 0 <= float(boxes[:, :4].min()) < float(boxes[:, :4].max()) <= SIZE
    assert bool((boxes[:, 2:4] > boxes[:, :2]).all())
    # Those that are there come first.
    assert torch.equal(there, there.sort(dim=1, descending=True).values)


def test_signs_do_not_overlap() -> None:
    for scene in truth(draw(200, seed=4)).tolist():
        boxes = [row for row in scene if row[4] >= 0]
        for number, one in enumerate(boxes):
            assert not any(overlap(one, other) for other in boxes[number + 1 :])


def test_a_box_is_what_is_visible_of_its_sign() -> None:
    scenes = draw(40, seed=4)
    signs = scenes.signs
    corner = _corners(signs)

    opacity = _painted(signs, corner)[:, 3]

    for box, (left, top), sign in zip(
        signs.boxes().tolist(), corner.tolist(), opacity, strict=True
    ):
        rim = torch.cat([sign[0], sign[-1], sign[:, 0], sign[:, -1]])
        assert float(rim.max()) < 0.01, "the window must be large enough"
        row, column = (sign >= 0.5).nonzero(as_tuple=True)
        seen = [column.min() + left, row.min() + top]
        seen += [column.max() + left + 1, row.max() + top + 1]
        inside = [min(max(float(each), 0), SIZE) for each in seen]
        assert box == pytest.approx(inside, abs=1.2)


def test_a_sign_changes_its_box_and_nothing_else() -> None:
    scenes = draw(4, seed=4)
    none = scenes.signs.rows(torch.zeros(0, dtype=torch.long))
    bare = Scenes(
        scenes.seed, scenes.gain, scenes.glare, scenes.blur, scenes.noise, none
    )

    changed = (render(scenes) != render(bare)).any(1)

    for picture, boxes in zip(changed, truth(scenes).tolist(), strict=True):
        allowed = torch.zeros_like(picture)
        for left, top, right, bottom, kind in boxes:
            # The lens blurs the rim.
            near, far = math.floor, math.ceil
            rows = slice(max(near(top) - 4, 0), far(bottom) + 4)
            columns = slice(max(near(left) - 4, 0), far(right) + 4)
            allowed[rows, columns] |= kind >= 0
        assert picture.any() and not (picture & ~allowed).any()
    assert WINDOW < SIZE


# --- Detections -----------------------------------------------------------------------


def overlap(one: Row, other: Row) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = ((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return common / (sum(areas) - common)


def raw_output(count: int) -> Tensor:
    """Boxes of many cells, close together and of few classes, so that most overlap."""
    raw = torch.randn(count, 5 + len(SIGNS), CELLS, CELLS)
    raw[:, 0, :7, :7] += 8
    raw[:, 1:5] = 1.7 + 0.3 * raw[:, 1:5]
    raw[:, 5:7] += 6
    return raw


def detections_of(raw: Tensor) -> list[list[float]]:
    """Decode one picture cell by cell, and suppress one by one."""
    cells = []
    for row in range(CELLS):
        for column in range(CELLS):
            there, *sides = raw[:5, row, column].tolist()
            classes = raw[5:, row, column].softmax(0).tolist()
            x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
            left, top, right, bottom = (CELL * math.exp(side) for side in sides)
            box = [x - left, y - top, x + right, y + bottom]
            kind = classes.index(max(classes))
            score = classes[kind] / (1 + math.exp(-there))
            cells.append([*(min(max(s, 0), SIZE) for s in box), kind, score])
    kept: list[list[float]] = []
    for cell in sorted(cells, key=lambda cell: -cell[5])[:48]:
        if not any(cell[4] == k[4] and overlap(cell, k) > 0.5 for k in kept):
            kept.append(cell)
    nothing = [[0.0] * 4 + [-1.0, 0.0]] * DETECTIONS
    return [*kept, *nothing][:DETECTIONS]


def test_detections_are_those_found_cell_by_cell() -> None:
    raw = raw_output(4)

    found = detect(raw)

    expected = torch.tensor([detections_of(each) for each in raw])
    there = expected[..., 4:5] >= 0
    assert 0 < int(there.sum()) < 4 * DETECTIONS, "some must be suppressed"
    assert torch.equal(found[..., 4], expected[..., 4])
    assert torch.equal(found[..., 5] > 0, there[..., 0])
    assert torch.allclose(found * there, expected * there, atol=1e-3)


@pytest.mark.parametrize("channel", [0, 3, 20])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_gets_through(channel: int, value: float) -> None:
    raw = raw_output(2)
    # Where nothing was found otherwise, and in the midst of what was.
    raw[0, 0, 3, 3] = -20
    raw[:, channel, 3, 3] = value

    found = detect(raw)

    assert found[:, 0, 5].isnan().all()
    assert int(found[..., 5].isnan().sum()) == 2
    assert named_criterion("detections-changed").failed(
        detect(raw_output(2)), found, None
    ).tolist() == [True, True]


def test_a_picture_is_judged_by_itself() -> None:
    raw = raw_output(3)

    assert torch.equal(detect(raw)[1:2], detect(raw[1:2]))


# --- How good they are ----------------------------------------------------------------


def slow_precision(found: Tensor, labels: Tensor) -> float:
    """Walk down each class from the surest detection, as the challenge defines it."""
    each = []
    for kind in range(len(SIGNS)):
        truths = {
            (scene, number): row
            for scene, rows in enumerate(labels.tolist())
            for number, row in enumerate(rows)
            if row[4] == kind
        }
        mine = [
            (row[5], scene, row)
            for scene, rows in enumerate(found.tolist())
            for row in rows
            if row[4] == kind
        ]
        if truths:
            ordered = sorted(mine, key=lambda one: -one[0])
            each.append(area_under_curve([o[1:] for o in ordered], truths))
    return sum(each) / len(each)


def area_under_curve(
    ordered: list[tuple[int, list[float]]], truths: dict[tuple[int, int], list[float]]
) -> float:
    taken, curve = set(), []
    for place, (scene, row) in enumerate(ordered, start=1):
        own = {
            key: overlap(row, true) for key, true in truths.items() if key[0] == scene
        }
        best = max(own, key=lambda key: own[key], default=None)
        if best is not None and own[best] >= 0.5 and best not in taken:
            taken.add(best)
        curve.append((len(taken) / len(truths), len(taken) / place))
    area, before = 0.0, 0.0
    for recall, _ in curve:
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


def test_mean_average_precision_is_as_the_challenge_defines_it() -> None:
    labels = truth(draw(30, seed=4))
    labels[..., 4] = labels[..., 4].clamp(max=2)
    # Most are near, some of another class, some twice, some nowhere.
    found = torch.zeros(30, 8, 6)
    found[:, :MOST, :5] = labels + torch.randn(labels.shape) * torch.tensor([4.0] * 5)
    found[:, 5:, :5] = found[:, :3, :5] + 1
    found[..., 4] = torch.randint(-1, 3, (30, 8))
    found[:, :MOST, 4] = labels[..., 4]
    found[:, 0, 4] = 0
    found[..., 2:4] = torch.maximum(found[..., 2:4], found[..., :2] + 1)
    found[..., 5] = torch.rand(30, 8).sort(dim=1, descending=True).values

    precision = mean_average_precision(found, labels, classes=len(SIGNS))

    assert 0.05 < precision < 0.95
    assert precision == pytest.approx(slow_precision(found, labels), abs=1e-6)


def test_precision_needs_an_example() -> None:
    nothing = truth(draw(2, seed=4))
    nothing[..., 4] = -1

    with pytest.raises(ValueError, match="labels must hold an example of a class"):
        mean_average_precision(torch.zeros(2, 3, 6), nothing, classes=44)


# --- Learning, and what was learnt ----------------------------------------------------


def test_the_loss_is_least_where_everything_is_right() -> None:
    labels = truth(draw(6, seed=4))
    middle = middles(CELLS, CELLS)
    near = train._near(middle, labels)
    right = torch.zeros(6, CELLS * CELLS, 5 + len(SIGNS))
    right[..., 0] = -20
    for scene, sign, cell in near.nonzero().tolist():
        box = labels[scene, sign]
        away = torch.cat([middle[cell] - box[:2], box[2:4] - middle[cell]]) / CELL
        right[scene, cell, 0] = 20
        right[scene, cell, 1:5] = away.log()
        right[scene, cell, 5 + int(box[4])] = 30
    raw = right.transpose(1, 2).unflatten(2, (CELLS, CELLS))

    assert bool(near.any(2)[labels[..., 4] >= 0].all()), "each sign needs a cell"
    assert float(train.loss_of(raw, labels)) == pytest.approx(0, abs=1e-4)
    for channel in (0, 2, 40):
        assert float(train.loss_of(raw.roll(1, channel % 3 + 1), labels)) > 0.1
    assert mean_average_precision(detect(raw), labels, classes=44) == 1.0


def test_training_is_reproducible() -> None:
    first, second = (train.train(64, epochs=1).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)
    fresh = build_network().state_dict()
    assert not torch.equal(first["head.weight"], fresh["head.weight"])


def test_the_network_finds_signs_in_fresh_scenes() -> None:
    assert train.precision(load_network(), 64, seed=99) >= 0.9


def test_the_scenes_case_is_ready_to_be_assessed() -> None:
    case = cases.load("scenes", 6)

    assert isinstance(case.inputs, Tensor) and case.labels is not None
    assert case.inputs.shape == (6, 3, SIZE, SIZE)
    assert case.labels.shape == (6, MOST, 5)
    assert f"{parameters(case.network):,} parameters" in case.about
    assert case.tail is not None
    with torch.inference_mode():
        found = case.tail(case.network(case.inputs))
    assert found.shape == (6, DETECTIONS, 6)
    assert case.judged_by.failed(found, found, case.labels).tolist() == [False] * 6
    assert case.judged_by.failed(found, 0 * found, case.labels).all()
    with pytest.raises(CaseError, match="at least 1 for the case scenes, got 0"):
        cases.load("scenes", 0)


def test_decoded_cells_keep_their_places() -> None:
    raw = torch.zeros(1, 5 + len(SIGNS), CELLS, CELLS)

    (cells,) = decode(raw)

    assert cells[CELLS + 2, :4].tolist() == [12.0, 4.0, 28.0, 20.0]
